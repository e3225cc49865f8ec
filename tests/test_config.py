import pytest

from medwb.architectures import ARCHITECTURES, select_architectures
from medwb.config import RunConfig, changed_settings, make_config, make_configs, read_settings, total_epochs
from medwb.errors import RequestError
from medwb.recipes import RECIPES

BASE = {"dataset": "demo", "architecture": "cnn-2"}


def test_every_field_is_documented():
    for name, field in RunConfig.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean epochs"),
        ({"epochs": 0}, "epochs=0: input should be greater than or equal to 1"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"architecture": "cnn-6"}, "unknown architecture 'cnn-6'"),
        ({"plateau_patience": 2, "plateau_floor": 1e-3}, "could never act"),
        ({"architecture": "svc", "epochs": 3}, "epochs does nothing for the baseline svc"),
        ({"channels": 2}, "channels=2"),
        ({"cleaning": "../x"}, r"runs.yaml: cleaning name '../x' is not allowed"),
        ({"cleaning": ""}, "cleaning name '' is not allowed"),
        ({"augmentation": "../x"}, r"runs.yaml: augmentation name '../x' is not allowed"),
        ({"augmentation": 3}, "augmentation=3: input should be a valid string"),
        ({"architecture": "svc", "augmentation": "study"}, "augmentation does nothing for the baseline svc"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(RequestError, match=message):
        make_config({**BASE, **settings}, "runs.yaml")


def test_strings_are_converted():
    config = make_config({**BASE, "epochs": "3", "learning_rate": "1e-2", "scale": "false", "channels": "3"})
    assert (config.epochs, config.learning_rate, config.scale, config.channels) == (3, 0.01, False, 3)


def test_a_saved_config_comes_back():
    config = make_config({**BASE, "epochs": 3})
    assert make_config(config.model_dump()) == config
    assert changed_settings(config) == "epochs=3"
    assert changed_settings(make_config(BASE)) == ""


def test_settings_from_a_file_and_from_texts(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("epochs: 3\nlearning_rate: 0.01\n")
    assert read_settings(file, ["epochs=7", "loss = categorical"]) == {
        "epochs": "7",
        "learning_rate": 0.01,
        "loss": "categorical",
    }


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [", "\x00", "just words"])
def test_a_file_without_settings_is_refused(tmp_path, content):
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(RequestError, match=r"settings\.yaml (is no readable|holds no settings)"):
        read_settings(file, [])


def test_a_text_without_a_sign_is_refused():
    with pytest.raises(RequestError, match="'epochs' has no '='"):
        read_settings(None, ["epochs"])


def test_baselines_run_once_without_what_only_networks_have():
    configs = make_configs("demo", select_architectures(["cnn-2", "svc"]), {"epochs": 3, "channels": 1}, [4, 5])
    assert [(config.architecture, config.seed, config.epochs) for config in configs] == [
        ("cnn-2", 4, 3),
        ("cnn-2", 5, 3),
        ("svc", 4, 10),
    ]
    assert configs[2].channels == 1


def test_unknown_settings_are_refused_for_baselines_too():
    with pytest.raises(RequestError, match="unknown setting 'epoch'"):
        make_configs("demo", select_architectures(["svc"]), {"epoch": 3})


def test_repeated_seeds_are_refused():
    with pytest.raises(RequestError, match="seeds 1,1 repeat one"):
        make_configs("demo", select_architectures(["cnn-2"]), {}, [1, 1])


def test_settings_are_checked_even_where_only_baselines_are_chosen():
    with pytest.raises(RequestError, match="epochs='banana'"):
        make_configs("demo", select_architectures(["svc"]), {"epochs": "banana"})


@pytest.mark.parametrize("key", ["seed", "dataset", "architecture"])
def test_what_a_selection_names_is_no_setting(key):
    with pytest.raises(RequestError, match=f"{key} is no setting of a selection"):
        make_configs("demo", select_architectures(["cnn-2"]), {key: 3})


def test_a_schedule_that_early_stopping_forestalls_is_refused():
    with pytest.raises(RequestError, match="training would stop before the learning rate falls"):
        make_configs("demo", select_architectures(["cnn-2"]), {"plateau_patience": 5, "recipe": "reference"})


def test_baselines_learn_under_a_cleaning_too():
    configs = make_configs("demo", select_architectures(["cnn-2", "svc"]), {"cleaning": "drop-constant"})
    assert [config.cleaning for config in configs] == ["drop-constant", "drop-constant"]
    assert [changed_settings(config) for config in configs] == ["cleaning=drop-constant"] * 2


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_numbers_are_finite(value):
    with pytest.raises(RequestError, match="early_stopping_min_delta"):
        make_config({**BASE, "early_stopping_min_delta": value})


@pytest.mark.parametrize("recipe", list(RECIPES), ids=lambda recipe: recipe.name)
def test_a_recipe_is_where_settings_that_are_not_given_come_from(recipe):
    config = make_config({**BASE, "recipe": recipe.name})
    assert config.recipe == recipe.name
    assert {key: getattr(config, key) for key in recipe.settings} == recipe.settings
    assert make_config({**BASE, "recipe": recipe.name, "copies": "all"}).copies == "all"


def test_without_a_recipe_it_is_the_architectures_own():
    config = make_config(BASE)
    assert config.recipe == ARCHITECTURES.get("cnn-2").recipe
    assert changed_settings(make_config({**BASE, "recipe": "reference", "epochs": 3})) == "recipe=reference epochs=3"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "stabel"}, "unknown recipe 'stabel'; did you mean stable"),
        ({"plateau_patience": 2, "schedule": "linear"}, "both set the learning rate"),
        ({"optimizer": "adamw"}, "adamw is adam with a weight_decay above 0"),
        ({"weight_decay": 0.1}, "optimizer=adam and weight_decay=0.1 do not go together"),
        ({"momentum": 0.9}, "momentum=0.9 does nothing for adam"),
        ({"frozen": "logistic"}, "features of random weights; name weights"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings, message):
    with pytest.raises(RequestError, match=message):
        make_config({**BASE, **settings})


def test_small_sets_get_more_epochs_unless_somebody_says_how_many():
    usual = make_config(BASE)
    assert usual.min_updates > 0
    assert total_epochs(usual, steps=2) == -(-usual.min_updates // 2)
    assert total_epochs(usual, steps=10_000) == usual.epochs
    named = make_config({**BASE, "epochs": 3})
    assert total_epochs(named, steps=2) == 3
    assert changed_settings(named) == "epochs=3"
    assert total_epochs(make_config({**BASE, "epochs": 3, "min_updates": 100}), steps=10) == 10
