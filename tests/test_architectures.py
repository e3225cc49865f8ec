import pytest

from medwb.architectures import ARCHITECTURES, describe_layers, select_architectures
from medwb.errors import RequestError

NETWORKS = [entry for entry in ARCHITECTURES if entry.layers]
BASELINES = [entry for entry in ARCHITECTURES if entry.estimator]


@pytest.mark.parametrize("entry", list(ARCHITECTURES), ids=lambda entry: entry.name)
def test_every_architecture_is_a_network_or_a_baseline_and_says_what_it_is(entry):
    assert [entry.layers, entry.backbone, entry.estimator].count(None) == 2
    assert len(entry.summary) > 10
    assert entry.reference_score is None or 0.5 < entry.reference_score < 1


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["binary", "categorical"])
@pytest.mark.parametrize("shape", [(64, 64, 1), (64, 64, 3), (32, 32, 1)], ids=str)
@pytest.mark.parametrize("entry", NETWORKS, ids=lambda entry: entry.name)
def test_facts_equal_what_keras_builds(entry, shape, loss):
    from medwb.config import RunConfig
    from medwb.training.network import build_network

    outputs = 6 if loss == "categorical" else 3
    try:
        facts = describe_layers(entry, shape, outputs)
    except RequestError:
        assert shape[0] < 64  # every one takes the study's size
        return
    model = build_network(entry, shape, 3, RunConfig(dataset="x", architecture=entry.name, loss=loss))
    built = model.layers[1 : 1 + len(facts)]  # the first one scales the pixels
    for layer, fact in zip(built, facts, strict=True):
        assert tuple(layer.output.shape[1:]) == fact.output_shape
        assert layer.count_params() == fact.parameters
    assert model.output_shape == ((None, 3, 2) if loss == "categorical" else (None, 3))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("fcnn-1", 4097 * 256 + 257 * 256 + 257 * 3), ("cnn-4", 832 + 51_264 + 65 * 1024 + 1025 * 3)],
)
def test_parameters_by_hand(name, parameters):
    layers = describe_layers(ARCHITECTURES.get(name), (64, 64, 1), 3)
    assert sum(layer.parameters for layer in layers) == parameters


def test_multiply_adds_by_hand():
    layers = describe_layers(ARCHITECTURES.get("cnn-1"), (64, 64, 1), 3)
    assert layers[0].multiply_adds == 62 * 62 * 256 * 9
    assert layers[3].multiply_adds == 20 * 20 * 256 * 256


def test_too_small_an_input_is_named():
    with pytest.raises(RequestError, match="cnn-4 cannot take 8 x 8 pixels: nothing is left after MaxPooling2D 5"):
        describe_layers(ARCHITECTURES.get("cnn-4"), (8, 8, 1), 3)


def test_selection_by_name_and_family():
    assert [entry.name for entry in select_architectures(["reference"])] == [entry.name for entry in NETWORKS][:8]
    assert select_architectures(["svc", "baseline"])[0].name == "svc"
    assert len(select_architectures(["all"])) == len(ARCHITECTURES.names())
    with pytest.raises(RequestError, match="unknown architecture 'cnn6'"):
        select_architectures(["cnn6"])
