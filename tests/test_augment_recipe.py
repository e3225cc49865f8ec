"""Recipes: what is checked, and that files, addresses and the store give back what was put in."""

import base64
import errno
import json
import zlib
from dataclasses import replace

import pytest
from augmented_scans import corners

from medwb.augment import (
    PRESETS,
    TRANSFORMS,
    Augmentation,
    Step,
    augmentation_names,
    from_token,
    open_augmentation,
    parse_yaml,
    read_augmentation,
    remove_augmentation,
    save_augmentation,
)
from medwb.augment.recipe import MAX_STEPS
from medwb.augment.store import MAX_BYTES, load_recipe, read_recipe
from medwb.errors import RequestError
from medwb.params import OneOf
from medwb.paths import augmentations_dir

NAMES = TRANSFORMS.names()
ODD = Augmentation(
    (
        Step("rotate", {"degrees": OneOf((-90, 0, 12.5)), "border": "black"}, p=0.25),
        Step("median-blur", {"radius": (1, 3)}, p=1, enabled=False),
        Step("rotate", {"degrees": 7}, p=0),
    ),
    "Größe 50 %: «rücken»\nsecond line",
)


def returns(augmentation):
    """What comes back by each way."""
    yield parse_yaml(augmentation.to_yaml(), "test")
    yield from_token(augmentation.to_token())
    yield read_augmentation(json.loads(json.dumps(augmentation.describe())), "test")


@pytest.mark.parametrize("name", NAMES)
def test_settings_come_back(name):
    for settings in corners(TRANSFORMS.get(name)):
        augmentation = Augmentation((Step(name, settings, p=0.35),))
        for back in returns(augmentation):
            assert back == augmentation
            assert back.digest == augmentation.digest


@pytest.mark.parametrize("augmentation", [Augmentation(), ODD, *PRESETS.values()], ids=["none", "odd", *PRESETS])
def test_recipes_come_back(augmentation):
    for back in returns(augmentation):
        assert back == augmentation
        assert back.digest == augmentation.digest
    assert set(augmentation.to_token()) <= set(map(chr, range(33, 127))) - set("&=+/#?%")


def test_what_is_left_out_has_its_default():
    assert parse_yaml("steps:\n- transform: rotate", "test").steps == (Step("rotate"),)
    assert Step("rotate").settings == {"degrees": (-10.0, 10.0), "border": "reflect"}
    assert Step("rotate").p == 0.5
    assert Step("rotate", {"degrees": [3, 4]}) == Step("rotate", {"degrees": (3.0, 4.0)})
    assert isinstance(Step("median-blur", {"radius": 2.0}).settings["radius"], int)


def test_the_digest_follows_what_counts():
    assert Augmentation().digest == ""
    assert Augmentation((Step("rotate", enabled=False),), "about").digest == ""
    base = Augmentation((Step("rotate"), Step("shear")))
    assert len(base.digest) == 12
    assert replace(base, about="Another text.").digest == base.digest
    assert Augmentation((Step("rotate"), Step("invert", enabled=False), Step("shear"))).digest == base.digest
    others = [
        Augmentation((Step("shear"), Step("rotate"))),
        base.with_step(0, Step("rotate", p=0.55)),
        base.with_step(0, Step("rotate", {"border": "edge"})),
        base.with_step(1, Step("shear", {"x": (-0.1, 0.15)})),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 5


def test_with_step_leaves_the_others():
    changed = ODD.with_step(1, Step("invert"))
    assert [step.transform for step in changed.steps] == ["rotate", "invert", "rotate"]
    assert changed.about == ODD.about
    assert (changed.steps[0], changed.steps[2]) == (ODD.steps[0], ODD.steps[2])


STEP = "steps:\n- transform: "
LAUGHS = (
    "[&a [x,x,x,x,x,x,x,x,x]"
    + "".join(f",&{chr(98 + k)} [{','.join(['*' + chr(97 + k)] * 9)}]" for k in range(9))
    + "]"
)
BAD = {
    "unknown transform": (f"{STEP}rotat", "step 1 (rotat): unknown transform 'rotat'; did you mean rotate?"),
    "unknown setting": (
        f"{STEP}rotate\n  degree: 3",
        "step 1 (rotate): unknown setting of rotate 'degree'; did you mean",
    ),
    "upside down": (f"{STEP}rotate\n  degrees: [10, -10]", "degrees=[10, -10] is upside down; write [-10, 10]"),
    "probability": (f"{STEP}rotate\n  p: 1.2", "step 1 (rotate): p=1.2 is out of range; it goes from 0 to 1"),
    "crop": (f"{STEP}crop\n  keep: 120", "step 1 (crop): keep=120 is out of range; it goes from 10 to 100 %"),
    "end of a range": (f"{STEP}crop\n  keep: [50, 101]", "keep=101 is out of range"),
    "one of some": (f"{STEP}rotate\n  degrees: {{one_of: [1, 500]}}", "degrees=500 is out of range"),
    "one of none": (f"{STEP}rotate\n  degrees: {{one_of: []}}", "degrees: one_of names no value; list at least one"),
    "one of a number": (f"{STEP}rotate\n  degrees: {{one_of: 5}}", "is no setting; write a number, [low, high] or"),
    "three ends": (f"{STEP}rotate\n  degrees: [1, 2, 3]", "degrees=[1, 2, 3] is no setting"),
    "not drawable": (f"{STEP}elastic\n  shift: [0, 1]", "shift=[0, 1] is not a number"),
    "half a pixel": (f"{STEP}median-blur\n  radius: 1.5", "radius=1.5 is not a whole number"),
    "nan": (f"{STEP}rotate\n  degrees: .nan", "degrees=nan is out of range"),
    "inf": (f"{STEP}rotate\n  degrees: [0, .inf]", "degrees=inf is out of range"),
    "endless probability": (f"{STEP}rotate\n  p: -.inf", "p=-inf is out of range"),
    "400 digits": (f"{STEP}rotate\n  degrees: 1{'0' * 400}", "is larger than any number it may be"),
    "5000 digits": (f"{STEP}rotate\n  degrees: 1{'0' * 5000}", "is no readable YAML"),
    "bool": (f"{STEP}rotate\n  degrees: true", "degrees=True is no setting"),
    "bool where nothing is drawn": (f"{STEP}elastic\n  shift: true", "shift=True is not a number"),
    "nothing": (f"{STEP}rotate\n  degrees:", "degrees=None is no setting"),
    "no probability": (f"{STEP}rotate\n  p:", "p=None is not a number"),
    "a word": (f"{STEP}rotate\n  degrees: ten", "degrees='ten' is no setting"),
    "unknown choice": (f"{STEP}rotate\n  border: wrap", "unknown border 'wrap'; known: black, edge, reflect"),
    "switched half off": (f"{STEP}rotate\n  enabled: 1", "enabled=1 is neither true nor false"),
    "mixing first": (f"{STEP}mixup\n- transform: rotate", "mixup stands before other steps"),
    "41 steps": ("steps:\n" + "- transform: rotate\n" * 41, "an augmentation of 41 steps is too long; at most 40"),
    "second step": (f"{STEP}rotate\n- transform: shear\n  x: 2", "step 2 (shear): x=2 is out of range"),
    "no step": ("steps: [rotate]", "step 1: a step is written as 'transform: NAME'"),
    "a step of nothing": ("steps: [null]", "step 1: a step is written as"),
    "a number for a name": (f"{STEP}3", "a step is written as"),
    "unknown key": ("steps: []\nstep: []", "unknown key 'step'; did you mean steps?"),
    "no steps": ("about: nothing", "holds no augmentation; write 'steps:'"),
    "a word for steps": ("steps: rotate", "holds no augmentation; write 'steps:'"),
    "a list": ("- rotate", "holds no augmentation"),
    "empty": ("", "holds no augmentation"),
    "open bracket": ("steps: [", "is no readable YAML: while parsing"),
    "tab": ("steps:\n\t- transform: rotate", "is no readable YAML"),
    "no text": ("steps: []\x00", "is no readable YAML"),
    "code": ('!!python/object/apply:os.system ["true"]', "is no readable YAML: could not determine a constructor"),
    "about of a list": ("about: [1, 2]\nsteps: []", "about=[1, 2] is no text"),
    "enabled of a tree": (f"{STEP}rotate\n  enabled: [[[[[[[[[[[]]]]]]]]]]]", "enabled=[[[[[[[...]]]]]]] is neither"),
    "too long": ("#" * 100_001, "has 100,001 characters; a recipe has at most 100,000"),
    "deep": ("steps: " + "[" * 5000, "is no readable YAML"),
    "a billion laughs": (f"{STEP}rotate\n  degrees: {LAUGHS}", "is no setting"),
    "a billion laughs for a choice": (f"{STEP}rotate\n  border: {LAUGHS}", "unknown border"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_yaml_is_named_in_one_line(case):
    text, message = BAD[case]
    with pytest.raises(RequestError) as raised:
        parse_yaml(text, "recipe.yaml")
    said = str(raised.value)
    assert said.startswith("recipe.yaml")
    assert message in said
    assert "\n" not in said
    assert len(said) < 400


@pytest.mark.parametrize(
    "make",
    [
        lambda: Step("rotate", p=1.2),
        lambda: Step("rotate", p=float("nan")),
        lambda: Step("rotate", p=True),
        lambda: Step("rotate", {"degrees": (10, -10)}),
        lambda: Step("rotate", {"degrees": "10"}),
        lambda: Step("rotat"),
        lambda: Augmentation((Step("cutmix"), Step("rotate"))),
        lambda: Augmentation((Step("rotate"),) * (MAX_STEPS + 1)),
    ],
)
def test_the_same_is_refused_in_python(make):
    with pytest.raises(RequestError):
        make()


def test_mixing_steps_may_be_several_at_the_end():
    assert len(Augmentation((Step("rotate"), Step("mixup"), Step("cutmix"))).steps) == 3


def _packed(text):
    return base64.urlsafe_b64encode(zlib.compress(text, 9)).decode().rstrip("=")


TOKENS = {
    "nothing": "",
    "cut": ODD.to_token()[:-8],
    "cut to one letter": ODD.to_token()[:1],
    "changed": ODD.to_token()[:12] + "AAAA" + ODD.to_token()[16:],
    "no letters of ours": "größe",
    "no zip": base64.urlsafe_b64encode(b"hello hello").decode(),
    "no JSON": _packed(b"hello"),
    "100 MB": _packed(b" " * 100_000_000),
    "deep": _packed(b"[" * 90_000),
    "no Unicode": _packed(b"\xff\xfe\xfa"),
}


@pytest.mark.parametrize("case", TOKENS)
def test_bad_tokens_are_named(case):
    with pytest.raises(RequestError, match=r"the recipe in the address cannot be read \(.*it was cut or changed"):
        from_token(TOKENS[case])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"steps": [{"transform": "rotate", "degrees": NaN}]}', "degrees=nan is out of range"),
        (b'{"steps": [{"transform": "rotate", "degrees": Infinity}]}', "degrees=inf is out of range"),
        (b'{"steps": {"transform": "rotate"}}', "holds no augmentation"),
        (b"3", "holds no augmentation"),
    ],
)
def test_tokens_are_checked_like_files(text, message):
    with pytest.raises(RequestError, match=f"the recipe in the address.*{message}"):
        from_token(_packed(text))


def test_store(home):
    assert augmentation_names() == list(PRESETS)
    save_augmentation("mine", ODD)
    save_augmentation("another.one", Augmentation())
    assert augmentation_names() == [*PRESETS, "another.one", "mine"]
    assert open_augmentation("mine") == ODD
    assert (augmentations_dir() / "mine.yaml").read_text(encoding="utf-8") == ODD.to_yaml()
    assert list(augmentations_dir().iterdir()) == list(augmentations_dir().glob("*.yaml"))
    save_augmentation("mine", ODD)
    with pytest.raises(RequestError, match="augmentation 'mine' exists; choose another name, or replace it"):
        save_augmentation("mine", PRESETS["ct"])
    assert open_augmentation("mine") == ODD
    save_augmentation("mine", PRESETS["ct"], replace=True)
    assert open_augmentation("mine") == PRESETS["ct"]
    remove_augmentation("mine")
    assert augmentation_names() == [*PRESETS, "another.one"]


@pytest.mark.parametrize("name", ["none", *PRESETS])
def test_what_comes_with_medwb_stays(home, name):
    assert open_augmentation(name) == PRESETS.get(name, Augmentation())
    for replacing in (False, True):
        with pytest.raises(RequestError, match=f"augmentation '{name}' comes with medwb.*under another name"):
            save_augmentation(name, ODD, replace=replacing)
    with pytest.raises(RequestError, match="unknown saved augmentation"):
        remove_augmentation(name)
    # A file of that name, put there by hand, does not hide it.
    augmentations_dir().mkdir(parents=True)
    (augmentations_dir() / f"{name}.yaml").write_text(ODD.to_yaml(), encoding="utf-8")
    assert open_augmentation(name) == PRESETS.get(name, Augmentation())
    assert augmentation_names().count(name) == (name in PRESETS)


@pytest.mark.parametrize(
    "name", ["../x", "a/../../b", "/etc/passwd", "..", "", "a b", "x" * 81, "nul\x00", ".hidden"]
)
def test_names_that_lead_elsewhere(home, name):
    for ask in (open_augmentation, remove_augmentation, lambda name: save_augmentation(name, ODD)):
        with pytest.raises(RequestError, match=r"augmentation name .* is not allowed"):
            ask(name)
    assert not home.exists()


def test_a_digest_tells_the_second_of_a_kind_from_the_first():
    """It draws other numbers, though the first is off."""
    turn, off = Step("rotate"), Step("rotate", enabled=False)
    assert Augmentation((off, turn)).digest != Augmentation((turn,)).digest
    assert Augmentation((turn, off)).digest == Augmentation((turn,)).digest


def test_settings_cannot_be_changed():
    with pytest.raises(TypeError):
        PRESETS["study"].steps[0].settings["degrees"] = (0, 1)


def test_steps_are_inserted_moved_and_removed():
    turn, blur, mix = Step("rotate"), Step("median-blur"), Step("mixup")
    recipe = Augmentation((turn, mix), "why")
    assert recipe.inserted(blur) == Augmentation((turn, blur, mix), "why")
    assert recipe.inserted(blur, 0).steps == (blur, turn, mix)
    assert recipe.inserted(Step("cutmix")).steps == (turn, mix, Step("cutmix"))
    assert recipe.duplicated(0).steps == (turn, turn, mix)
    assert recipe.without(0).steps == (mix,)
    long = Augmentation((turn, blur, Step("invert")))
    assert long.moved(0, 1).steps == (blur, turn, Step("invert"))
    assert long.moved(0, -1) == long.moved(2, 5) == long
    assert long.moved(2, -9).steps == (Step("invert"), turn, blur)
    with pytest.raises(RequestError, match="mixup stands before other steps"):
        recipe.moved(1, -1)


def test_an_unknown_name_gets_a_hint(home):
    save_augmentation("gentle", ODD)
    with pytest.raises(RequestError, match=r"unknown augmentation 'gentel'; did you mean gentle\?"):
        open_augmentation("gentel")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"steps: []\n#" + b"x" * 2_000_000, "larger than 400,000 bytes"),
        (b"\xff\xfe\x00s", "is no text in UTF-8"),
        (b"steps: [", "is no readable YAML"),
        (b"steps:\n- transform: rotate\n  p: 2", "p=2 is out of range"),
    ],
)
def test_damaged_files_are_named(home, content, message):
    augmentations_dir().mkdir(parents=True)
    path = augmentations_dir() / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(RequestError) as raised:
        open_augmentation("broken")
    assert str(path) in str(raised.value)
    assert message in str(raised.value)
    assert "broken" in augmentation_names()
    with pytest.raises(RequestError, match="augmentation 'broken' exists; choose another name, or replace it"):
        save_augmentation("broken", ODD)
    assert path.read_bytes() == content
    save_augmentation("broken", ODD, replace=True)
    assert open_augmentation("broken") == ODD


def test_what_cannot_be_written_is_one_line(home, monkeypatch):
    (augmentations_dir() / "mine.yaml").mkdir(parents=True)
    with pytest.raises(RequestError, match="'mine' exists; choose another name, or replace it"):
        save_augmentation("mine", ODD)
    with pytest.raises(RequestError, match=r"mine\.yaml cannot be written \(it is no regular file\)"):
        save_augmentation("mine", ODD, replace=True)

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medwb.augment.store.write_text", full)
    with pytest.raises(RequestError, match=r"other\.yaml cannot be written \(No space left on device\)"):
        save_augmentation("other", ODD)


def test_recipes_are_read_alike_from_everywhere(tmp_path):
    text = ODD.to_yaml()
    assert read_recipe(text.encode(), "a file") == read_recipe(text.encode("utf-8-sig"), "a file") == ODD
    (tmp_path / "one.yaml").write_text(text, encoding="utf-8")
    assert load_recipe(tmp_path / "one.yaml") == ODD
    padded = text.encode() + b"#" * (MAX_BYTES - len(text.encode()))
    with pytest.raises(RequestError, match=r"a file has 3.* characters; a recipe has at most 100,000"):
        read_recipe(padded, "a file")
    with pytest.raises(RequestError, match="a file is larger than 400,000 bytes, which no recipe is"):
        read_recipe(padded + b"#", "a file")
    with pytest.raises(RequestError, match="is no file; write the recipe into a YAML file"):
        load_recipe(tmp_path)
