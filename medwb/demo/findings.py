"""The three findings: how marked each is, and how it is painted into a batch of slices."""

import numpy as np
import numpy.typing as npt

from medwb.demo.scene import JOINT, Scene, condyle, kneecap_u
from medwb.demo.shapes import Field, capsule, cover, ellipse, paint

PLAIN = (0.65, 1.0)
"""Severity of most findings: uniform between these."""

FAINT = (0.10, 0.45)
"""Severity of some findings, and of what some healthy frames show in the same place."""

FAINT_SHARES = {"present": (0.16, 0.16, 0.10), "absent": (0.14, 0.12, 0.05)}
"""By label: the share of present findings that are faint, and of absent ones that look like a faint one. Nobody can
tell these apart, so they hold down the best score that a network can reach. The rarest label has the fewest, or they
would outnumber what is really there."""

RAGGED = 0.02
"""How far textures push a finding's outline in and out, half frames."""


def grade(labels: npt.NDArray[np.int8], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Draw how marked each finding is.

    Args:
        labels: int8 (B, 3), 1 where label1, label2, label3 is present.
        rng: Where the severities come from.

    Returns:
        float32 (B, 3), 0 (nothing to see) to 1.
    """
    plain, faint = rng.uniform(*PLAIN, labels.shape), rng.uniform(*FAINT, labels.shape)
    lot = rng.random(labels.shape)
    present = np.where(lot < FAINT_SHARES["present"], faint, plain)
    absent = np.where(lot < FAINT_SHARES["absent"], faint, 0.0)
    return np.where(labels > 0, present, absent).astype(np.float32)


def paint_effusion(signal: Field, scene: Scene, severity: Field) -> None:
    """Paint bright fluid in the pouch above and behind the kneecap; a healthy knee has a thin film there."""
    t = scene.traits
    bottom = (kneecap_u(t) + 0.10, t["patella_v"] + 0.02)
    top = (kneecap_u(t) + 0.17, t["patella_v"] - scene.draw(0.30, 0.50))
    pouch = capsule(scene.u, scene.v, bottom, top, 0.012 + 0.105 * severity) + RAGGED * scene.mottle * severity
    paint(signal, cover(pouch) * np.minimum(0.3 + 1.4 * severity, 1.0), t["fluid"])


def paint_defect(signal: Field, scene: Scene, severity: Field) -> None:
    """Paint a notch of fluid in the cartilage of the femur, with a dark reaction in the bone above it."""
    centre, radii = condyle(scene.traits)
    turn = scene.draw(0.45, 2.2)  # radians along the joint surface, from its back to its front
    place = (centre[0] + radii[0] * np.cos(turn), centre[1] + radii[1] * np.sin(turn))
    size = scene.draw(0.085, 0.12) * (0.5 + 0.5 * severity)
    notch = ellipse(scene.u, scene.v, place, (0.72 * size, 1.45 * size), -turn) + 1.5 * RAGGED * scene.mottle
    strength = np.minimum(1.6 * severity, 1.0)
    paint(signal, 0.85 * strength * cover(np.maximum(notch - 0.06, scene.femur)), 0.10)
    paint(signal, strength * cover(np.maximum(notch, 0.01 - scene.tibia)), scene.traits["fluid"])


def paint_lesion(signal: Field, scene: Scene, severity: Field) -> None:
    """Paint a bright, ragged patch with a dark rim into the marrow of the femur or the tibia."""
    t = scene.traits
    in_femur = scene.draw(0.0, 1.0) < 0.55
    across = t["femur_u"] + 0.03 + scene.draw(-0.2, 0.2)
    down = np.where(in_femur, scene.draw(-0.38, -0.06), JOINT + t["gap"] + scene.draw(0.10, 0.32))
    u, v = np.where(in_femur, scene.u, scene.lower_u), np.where(in_femur, scene.v, scene.lower_v)
    radii = (scene.draw(0.11, 0.17), scene.draw(0.11, 0.16))
    patch = ellipse(u, v, (across, down), radii, scene.draw(0.0, 3.1)) + 2.0 * RAGGED * scene.mottle
    marrow = cover(np.where(in_femur, scene.femur, scene.tibia) + t["cortex"])
    strength = marrow * np.minimum(1.4 * severity, 1.0)
    paint(signal, strength * cover(patch, 0.12), t["fluid"] * (1.0 + 3.0 * RAGGED * scene.mottle))
    paint(signal, 0.6 * strength * cover(np.abs(patch - 0.03) - 0.015), 0.08)
