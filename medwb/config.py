"""RunConfig: what a training does, checked at the door."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from medwb.architectures import ARCHITECTURES, Architecture
from medwb.architectures.weights import NAMED_WEIGHTS
from medwb.dataset import Dataset
from medwb.errors import RequestError, short, unknown_name
from medwb.paths import check_name
from medwb.recipes import RECIPES
from medwb.strict_yaml import load_yaml

_ANY_NETWORK = "fcnn-1"  # settings are checked on it where only baselines are chosen
BASELINE_SETTINGS = ("dataset", "architecture", "channels", "image_size", "scale", "cleaning", "seed")


def _number_or_none(value: object) -> object:
    """Read "3" and "none", as a command line gives them."""
    if not isinstance(value, str):
        return value
    return None if value.lower() == "none" else int(value) if value.isdigit() else value


class RunConfig(BaseModel):
    """What a training does. Frozen, checked, saved with the run; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    dataset: str
    """Name of an imported dataset."""
    architecture: str
    """Name of a registered architecture."""
    heads: Literal["shared", "per-label"] = "shared"
    """One network with an output a label, or one network a label."""
    recipe: str = "reference"
    """Where settings that are not given come from; when it is not given either, it is the architecture's own."""
    weights: str = "none"
    """Where the weights start: "none" for random ones, "imagenet", or the path of a .weights.h5 file."""
    frozen: Literal["none", "logistic", "k-nn"] = "none"
    """Keep the network's weights as they start, and fit this on its features: logistic regression or k-NN."""
    loss: Literal["binary", "categorical", "focal", "asymmetric"] = "binary"
    """Cross-entropy of one sigmoid a label, or of two softmax outputs a label; focal; asymmetric."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """How far targets are pulled from 0 and 1 towards one half."""
    optimizer: Literal["adam", "sgd", "adamw"] = "adam"
    """Keras's optimizer of that name; adamw is adam with weight_decay."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """Step size at the start, or at the peak of the schedule."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Momentum of SGD; Adam does not use it."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """What weights shrink by a step, times the learning rate; adam has none, adamw needs it."""
    clip_norm: Annotated[float, Field(ge=0)] = 0.0
    """Longest gradient of all weights together; a longer one is shortened to it; 0 for no limit."""
    initializer: Literal["glorot", "he"] = "glorot"
    """Random weights of hidden layers: Keras's usual ones, or wider ones that suit ReLU."""
    weight_average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay a step of the running average of the weights, which is then what is scored and kept; 0 for none."""
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    """Arithmetic of hidden layers while training; auto is bfloat16 where the processor has it."""
    batch_size: Annotated[int, Field(ge=1, le=8192)] = 32
    """Images a step."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Passes over the training split, at most."""
    min_updates: Annotated[int, Field(ge=0)] = 0
    """On a small training split there are more epochs, until the weights change so often; 0 for none more."""
    class_weights: Literal["none", "balanced"] = "none"
    """Whether each label's positives and negatives weigh the same in the loss: n / (2 n_class) a sample."""
    monitor: Literal["f1", "accuracy", "loss"] = "f1"
    """What early stopping and the schedule watch, on the validation split; f1 is the macro F1 at 0.5."""
    early_stopping_patience: Annotated[int, Field(ge=0)] = 5
    """Epochs without improvement before training stops and the best weights come back; 0 keeps the last weights."""
    early_stopping_min_delta: Annotated[float, Field(ge=0)] = 1e-3
    """Smallest change that is an improvement."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """What the learning rate does after the warm-up: stays, or falls to zero over all epochs (one cycle)."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all steps in which the learning rate rises from zero."""
    plateau_patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without improvement before the learning rate falls; 0 never."""
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """What the learning rate is multiplied by then."""
    plateau_floor: Annotated[float, Field(ge=0)] = 1e-5
    """Smallest learning rate of the schedule; must lie below learning_rate when the schedule is on."""
    channels: Annotated[Literal[1, 3] | None, BeforeValidator(_number_or_none)] = None
    """1 makes grey of colour, 3 repeats grey; None takes the dataset's."""
    image_size: Annotated[Annotated[int, Field(ge=8, le=1024)] | None, BeforeValidator(_number_or_none)] = None
    """Height and width to resize to (area filter); None takes the dataset's."""
    scale: bool = True
    """Divide pixels by 255; otherwise 0..255 goes in."""
    copies: Literal["all", "once"] = "all"
    """Of training scans that are equal to the pixel, learn all, or one with the shares of their votes as labels."""
    cleaning: str = "none"
    """Name of a saved cleaning that the network learns under; "none" for the dataset as it is."""
    augmentation: str = "none"
    """Name of a ready or saved recipe that training scans are augmented by, anew each epoch; "none" for no change."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Initial weights, data order, dropout and what augmentation draws follow from it."""


def make_config(values: Mapping[str, Any], where: str = "the settings") -> RunConfig:
    """Check settings and turn them into a RunConfig; what is not given follows from the recipe.

    Args:
        values: Field names to values; strings are converted.
        where: What the settings stand in, for the message.

    Raises:
        RequestError: An unknown key (with the nearest), a value out of its range, settings that do not go together,
            an architecture or recipe that is not registered, a cleaning or augmentation whose name is not allowed.
    """
    for key in values:
        if key not in RunConfig.model_fields:
            raise RequestError(f"{where}: {unknown_name('setting', key, RunConfig.model_fields)}")
    if isinstance(weights := values.get("weights"), str) and weights not in NAMED_WEIGHTS:
        values = {**values, "weights": str(Path(weights).expanduser().absolute())}  # trainings start elsewhere
    try:
        config = RunConfig.model_validate({**_recipe_settings(values), **values})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise RequestError(
            f"{where}: {field}={short(first['input'])}: {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None
    try:
        check_name(config.cleaning, "cleaning")
        check_name(config.augmentation, "augmentation")
    except RequestError as error:
        raise RequestError(f"{where}: {error}") from None
    if not ARCHITECTURES.get(config.architecture).is_network:
        for key in values:
            if key not in BASELINE_SETTINGS and getattr(config, key) != RunConfig.model_fields[key].default:
                raise RequestError(
                    f"{where}: {key} does nothing for the baseline {config.architecture}; leave it out"
                )
    _check_together(config, where)
    return config


def _recipe_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the recipe says, its name included: the one that is named, or the architecture's own."""
    architecture, name = values.get("architecture"), values.get("recipe")
    if name is None and isinstance(architecture, str):
        name = ARCHITECTURES.get(architecture).recipe
    if not isinstance(name, str):
        return {}
    settings = {**RECIPES.get(name).settings, "recipe": name}
    if "epochs" in values:  # who names a number of epochs gets that number
        settings["min_updates"] = 0
    return settings


def _check_together(config: RunConfig, where: str) -> None:
    """Raise RequestError where one setting leaves another without effect."""
    if config.plateau_patience and config.plateau_floor >= config.learning_rate:
        raise RequestError(
            f"{where}: plateau_floor={config.plateau_floor:g} is not below learning_rate={config.learning_rate:g}, "
            "so the schedule could never act; lower the floor"
        )
    if config.plateau_patience and config.schedule != "constant":
        raise RequestError(
            f"{where}: plateau_patience={config.plateau_patience} and schedule={config.schedule} both set the "
            "learning rate; choose one: plateau_patience=0 or schedule=constant"
        )
    if (config.optimizer == "adamw") != bool(config.weight_decay) and config.optimizer != "sgd":
        raise RequestError(
            f"{where}: optimizer={config.optimizer} and weight_decay={config.weight_decay:g} do not go together; "
            "adamw is adam with a weight_decay above 0, such as 0.01"
        )
    if config.momentum and config.optimizer != "sgd":
        raise RequestError(f"{where}: momentum={config.momentum:g} does nothing for {config.optimizer}; leave it out")
    architecture = ARCHITECTURES.get(config.architecture)
    if config.frozen != "none" and config.weights == "none":
        raise RequestError(
            f"{where}: frozen={config.frozen} would fit features of random weights; name weights, such as imagenet"
        )
    if config.frozen != "none" and config.augmentation != "none":
        raise RequestError(
            f"{where}: frozen={config.frozen} fits features of the scans as they are; augmentation="
            f"{config.augmentation} would do nothing, leave it out"
        )
    if architecture.backbone and not config.scale:
        raise RequestError(f"{where}: scale=False is not what {config.architecture} takes; leave it out")


def read_settings(file: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """Settings from a JSON or YAML file and from "key=value" texts, which win.

    Raises:
        RequestError: The file is missing or holds no mapping, or a text has no "=".
    """
    settings: dict[str, Any] = {}
    if file is not None:
        if file.exists() and not file.is_file():
            raise RequestError(f"{file} is no file of settings")
        try:
            loaded = load_yaml(file.read_text(encoding="utf-8"))  # JSON is YAML
        except (OSError, ValueError) as error:
            raise RequestError(f"{file} is no readable JSON or YAML file: {' '.join(str(error).split())}") from error
        if not isinstance(loaded, dict):
            raise RequestError(f"{file} holds no settings; write one key: value a line")
        settings = {str(key): value for key, value in loaded.items()}
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign:
            raise RequestError(f"--set {text!r} has no '='; write key=value, such as epochs=5")
        settings[key.strip()] = value.strip()
    return settings


def make_configs(
    dataset: str, architectures: Sequence[Architecture], settings: Mapping[str, Any], seeds: Sequence[int] = (0,)
) -> list[RunConfig]:
    """One config an architecture and seed.

    Settings that only networks have are not passed to baselines, which also run once, whatever the seeds: their
    answers hardly depend on one.

    Args:
        dataset: Name of the dataset.
        architectures: What to train.
        settings: Field names to values, for all of them.
        seeds: Seeds of the networks.

    Raises:
        RequestError: As `make_config`; a seed twice.
    """
    for key in ("dataset", "architecture", "seed"):
        if key in settings:
            raise RequestError(f"{key} is no setting of a selection: name it on the command line or the page")
    networks = [entry for entry in architectures if entry.is_network]
    for entry in networks or [ARCHITECTURES.get(_ANY_NETWORK)]:
        checked = make_config({**settings, "dataset": dataset, "architecture": entry.name})
        if 0 < checked.early_stopping_patience <= checked.plateau_patience:
            raise RequestError(
                f"plateau_patience={checked.plateau_patience} is not below early_stopping_patience="
                f"{checked.early_stopping_patience}: training would stop before the learning rate falls"
            )
    if len(set(seeds)) != len(seeds):
        raise RequestError(f"seeds {','.join(map(str, seeds))} repeat one; each is one training")
    configs = []
    for architecture in architectures:
        facts = {"dataset": dataset, "architecture": architecture.name}
        if architecture.is_network:
            configs += [make_config({**settings, **facts, "seed": seed}) for seed in seeds]
        else:
            applying = {key: value for key, value in settings.items() if key in BASELINE_SETTINGS}
            configs.append(make_config({**applying, **facts, "seed": seeds[0]}))
    return configs


def parse_seeds(text: str) -> list[int]:
    """Read "0, 1, 2". Raises RequestError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise RequestError(f"seeds {text!r} are not whole numbers with commas between, such as 0,1,2") from None


def network_outputs(config: RunConfig, labels: int) -> int:
    """Outputs of each of the run's networks on a dataset with so many labels."""
    return (labels if config.heads == "shared" else 1) * (2 if config.loss == "categorical" else 1)


def input_shape(config: RunConfig, dataset: Dataset) -> tuple[int, int, int]:
    """(height, width, channels) that the network sees under this config."""
    height, width, channels = dataset.image_shape
    if config.image_size:
        height = width = config.image_size
    return height, width, config.channels or channels


def total_epochs(config: RunConfig, steps: int) -> int:
    """Epochs of a network when so many steps make one."""
    return max(config.epochs, -(-config.min_updates // max(1, steps)))


def usual_settings(architecture: Architecture, recipe: str | None = None) -> dict[str, Any]:
    """What every setting is when nothing is said but the recipe; None for the architecture's own."""
    name = recipe or architecture.recipe
    own = {key: field.default for key, field in RunConfig.model_fields.items() if not field.is_required()}
    return {**own, **RECIPES.get(name).settings, "recipe": name}


def changed_settings(config: RunConfig) -> str:
    """The settings that differ from the usual, such as "epochs=2 heads=per-label"; "" when none does.

    Usual is what the config's recipe says, and the architecture's own recipe.
    """
    architecture, values = ARCHITECTURES.get(config.architecture), config.model_dump()
    usual = {**usual_settings(architecture, config.recipe), "recipe": architecture.recipe, "seed": config.seed}
    if config.epochs != usual["epochs"] and not config.min_updates:
        del usual["min_updates"]  # it follows from naming epochs
    return " ".join(f"{key}={values[key]}" for key in usual if values[key] != usual[key])
