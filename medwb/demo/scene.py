"""Where everything lies in a batch of slices: how knees vary, the pose, the outlines of the bones.

Coordinates are in half frames: u runs from the front of the knee (-1) to its back (1), v from the thigh (-1) to the
calf (1); the joint lies near v = 0.1. See `shapes` for fields, traits and signed distances.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medwb.demo.shapes import Field, Trait, box, capsule, ellipse, join, rotate, texture

SIDE = 64
"""Height and width of a frame, pixels."""

JOINT = 0.1
"""Where the femur ends, in v."""


@dataclass(frozen=True)
class Spread:
    """How a trait varies: uniform over low..high from patient to patient, then by +-within from slice to slice."""

    low: float
    high: float
    within: float = 0.0


TRAITS = {
    # Pose. Lengths in half frames, angles in radians.
    "shift_u": Spread(-0.16, 0.16, 0.09),
    "shift_v": Spread(-0.18, 0.18, 0.09),
    "angle": Spread(-0.22, 0.22, 0.07),
    "zoom": Spread(0.96, 1.24, 0.04),
    "flexion": Spread(-0.20, 0.24, 0.04),
    "bow": Spread(-0.06, 0.06, 0.02),
    "side": Spread(-1.0, 1.0),  # left knees below 0, right knees above
    "depth": Spread(-0.75, 0.75, 0.35),  # from the knee's inner slices (-1) to its outer ones (1)
    # Shape. Half frames.
    "girth": Spread(0.68, 0.86, 0.02),
    "fat_front": Spread(0.05, 0.12, 0.015),
    "fat_back": Spread(0.07, 0.22, 0.02),
    "calf": Spread(-0.10, 0.12, 0.03),
    "femur_u": Spread(-0.04, 0.10, 0.03),
    "femur_shaft": Spread(0.15, 0.21, 0.015),
    "condyle_u": Spread(0.33, 0.42, 0.025),
    "condyle_v": Spread(0.26, 0.33, 0.02),
    "tibia_half": Spread(0.31, 0.39, 0.025),
    "tibia_shaft": Spread(0.16, 0.22, 0.015),
    "gap": Spread(0.06, 0.12, 0.01),
    "patella_v": Spread(-0.34, -0.14, 0.04),
    "patella_size": Spread(0.13, 0.19, 0.02),
    "cortex": Spread(0.025, 0.05, 0.005),
    # Signal of each tissue, 0 to 1.
    "fat": Spread(0.62, 0.80, 0.03),
    "marrow": Spread(0.36, 0.50, 0.02),
    "muscle": Spread(0.20, 0.30, 0.02),
    "cartilage": Spread(0.45, 0.62, 0.03),
    "fluid": Spread(0.85, 1.0, 0.02),
    "tendon": Spread(0.05, 0.12, 0.01),
    # Scanner: coil shading (log units a half frame), gain, gamma, blur (sigma, pixels), noise (sigma, 0 to 1).
    "bias_u": Spread(-0.25, 0.25, 0.04),
    "bias_v": Spread(-0.20, 0.20, 0.04),
    "falloff": Spread(0.15, 0.40, 0.04),
    "gain": Spread(0.92, 1.06, 0.02),
    "gamma": Spread(0.90, 1.12, 0.03),
    "blur": Spread(0.40, 0.65, 0.05),
    "noise": Spread(0.012, 0.040, 0.004),
}
"""Slices of one patient share its traits; `within` is wide enough that no two of them come out nearly equal."""


@dataclass(frozen=True)
class Scene:
    """The geometry and the textures of B slices, each field (B, 64, 64).

    Attributes:
        traits: (B, 1, 1) each, by the names of `TRAITS`.
        rng: Where what else varies comes from.
        u: Each pixel's place from front to back.
        v: Each pixel's place from thigh to calf.
        lower_u: As `u`, turned with the lower leg.
        lower_v: As `v`, turned with the lower leg.
        femur: Signed distance to the thigh bone.
        tibia: Signed distance to the shin bone.
        grain: Fine texture; this and the next two have zero mean and unit variance.
        mottle: Coarse texture.
        fibres: Texture that runs along the leg.
    """

    traits: dict[str, Field]
    rng: np.random.Generator
    u: Field
    v: Field
    lower_u: Field
    lower_v: Field
    femur: Field
    tibia: Field
    grain: Field
    mottle: Field
    fibres: Field

    def draw(self, low: float, high: float) -> Field:
        """Draw one number a slice, uniform over low..high: (B, 1, 1)."""
        return self.rng.uniform(low, high, (len(self.u), 1, 1)).astype(np.float32)


def draw_patients(patients: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw every patient's traits: float32 (patients, traits), in the order and units of `TRAITS`."""
    spreads = list(TRAITS.values())
    low = np.array([spread.low for spread in spreads], np.float32)
    high = np.array([spread.high for spread in spreads], np.float32)
    return low + (high - low) * rng.random((patients, len(spreads)), dtype=np.float32)


def lay_out(patients: npt.NDArray[np.float32], rng: np.random.Generator) -> Scene:
    """Lay out one slice a row of `patients` (float32 (B, traits), as `draw_patients` gives them)."""
    within = np.array([spread.within for spread in TRAITS.values()], np.float32)
    values = patients + within * rng.uniform(-1.0, 1.0, patients.shape).astype(np.float32)
    t: dict[str, Field] = {name: values[:, column, None, None] for column, name in enumerate(TRAITS)}
    u, v = _coordinates(t)
    lower_u, lower_v = rotate(u, v, t["flexion"], (t["femur_u"], JOINT))
    shape = (len(patients), SIDE, SIDE)
    return Scene(
        traits=t,
        rng=rng,
        u=u,
        v=v,
        lower_u=lower_u,
        lower_v=lower_v,
        femur=_femur(u, v, t),
        tibia=_tibia(lower_u, lower_v, t),
        grain=texture(rng, shape, (0.8, 0.8)),
        mottle=texture(rng, shape, (2.2, 2.2)),
        fibres=texture(rng, shape, (0.8, 3.0)),
    )


def pixel_centres() -> tuple[Field, Field]:
    """Where pixels lie in the frame, across (1, 1, 64) and down (1, 64, 1), -1 to 1."""
    centres = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE * 2.0 - 1.0
    return centres[None, None, :], centres[None, :, None]


def condyle(t: dict[str, Field]) -> tuple[tuple[Field, Field], tuple[Field, Field]]:
    """Centre and radii of the femur's rounded end."""
    return (t["femur_u"] + 0.03, JOINT - t["condyle_v"]), (t["condyle_u"], t["condyle_v"])


def kneecap_u(t: dict[str, Field]) -> Field:
    """How far forward the kneecap lies."""
    return t["femur_u"] - t["condyle_u"] - 0.105


def patella(scene: Scene) -> Field:
    """Signed distance to the kneecap, smaller in the outer slices."""
    t = scene.traits
    size = t["patella_size"] * (1.0 - 0.35 * t["depth"] ** 2)
    return ellipse(scene.u, scene.v, (kneecap_u(t), t["patella_v"]), (0.52 * size, size), 0.15)


def fibula(scene: Scene) -> Field:
    """Signed distance to the thin bone beside the tibia; only the outer slices meet it."""
    t = scene.traits
    radius: Trait = 0.16 * np.clip(np.abs(t["depth"]) - 0.45, 0.0, 0.6) / 0.6 - 0.03
    return capsule(scene.lower_u, scene.lower_v, (t["femur_u"] + 0.36, 0.46), (t["femur_u"] + 0.33, 2.0), radius)


def _coordinates(t: dict[str, Field]) -> tuple[Field, Field]:
    x, y = np.broadcast_arrays(*pixel_centres())
    u, v = rotate(x - t["shift_u"], y - t["shift_v"], t["angle"])
    u, v = u / t["zoom"], v / t["zoom"]
    u = u * np.where(t["side"] < 0, np.float32(-1), np.float32(1))  # left and right knees face opposite ways
    return u + t["bow"] * np.sin(2.2 * v), v


def _femur(u: Field, v: Field, t: dict[str, Field]) -> Field:
    centre, radii = condyle(t)
    end = ellipse(u, v, centre, (radii[0] * (1.0 - 0.12 * np.abs(t["depth"])), radii[1]))
    shaft = capsule(u, v, (t["femur_u"] - 0.14, -2.0), (t["femur_u"] - 0.06, -0.35), t["femur_shaft"])
    return join(shaft, end, 0.24)


def _tibia(u: Field, v: Field, t: dict[str, Field]) -> Field:
    top = JOINT + t["gap"]
    flare = np.clip((v - top) * 0.55, 0.0, 0.25)  # the plateau narrows towards the shaft
    plateau = box(u, v, (t["femur_u"] + 0.02, top + 0.17), (t["tibia_half"] - flare, 0.17), 0.07)
    shaft = capsule(u, v, (t["femur_u"] - 0.02, top + 0.30), (t["femur_u"] - 0.06, 2.0), t["tibia_shaft"])
    return join(plateau, shaft, 0.16)
