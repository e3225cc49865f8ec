"""Draws synthetic sagittal knee slices, 64 x 64, grey, with three findings. No real scan went into it.

The numbers in the drawing are places and lengths in half frames (see `scene`) and signals from 0 to 1, chosen by eye.
"""

import cv2
import numpy as np
import numpy.typing as npt

from medwb.demo.findings import paint_defect, paint_effusion, paint_lesion
from medwb.demo.scene import SIDE, Scene, fibula, kneecap_u, lay_out, patella, pixel_centres
from medwb.demo.shapes import Field, band, capsule, cover, ellipse, paint

CORTEX, MENISCUS, FASCIA = 0.06, 0.08, 0.1
"""Signal of tissues that look the same in everybody: they hold hardly any free water, so they are nearly black."""


def draw_slices(
    patients: npt.NDArray[np.float32], severity: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Draw one slice a row.

    Args:
        patients: float32 (B, traits), each slice's patient as `scene.draw_patients` gives them.
        severity: float32 (B, 3), 0 to 1: how marked effusion, cartilage defect and marrow lesion are.
        rng: Where slice-to-slice variation, texture and noise come from.

    Returns:
        uint8 (B, 64, 64).
    """
    scene = lay_out(patients, rng)
    effusion, defect, lesion = (severity[:, column, None, None] for column in range(3))
    signal = np.zeros((len(patients), SIDE, SIDE), np.float32)
    _paint_skin_and_fat(signal, scene)
    paint_effusion(signal, scene, effusion)
    _paint_extensor(signal, scene)
    _paint_joint(signal, scene)
    _paint_bones(signal, scene)
    paint_defect(signal, scene, defect)
    paint_lesion(signal, scene, lesion)
    return _acquire(signal, scene)


def _paint_skin_and_fat(signal: Field, scene: Scene) -> None:
    """Skin and the fat under it, then what they wrap."""
    t, u, v = scene.traits, scene.u, scene.v
    front = -t["girth"] - 0.07 * np.exp(-(((v - t["patella_v"]) / 0.3) ** 2)) + 0.05 * v
    back = t["girth"] - 0.10 * np.exp(-(((v - 0.05) / 0.35) ** 2)) + t["calf"] * v
    leg = np.maximum(front - u, u - back)
    fat = t["fat"] * (1.0 + 0.06 * scene.grain + 0.07 * scene.mottle)
    septa = cover(np.abs(scene.fibres) - 0.12, 0.5)
    paint(signal, cover(leg), fat * (1.0 - 0.22 * septa))
    paint(signal, cover(band(leg, -0.035, 0.0)), 0.45 * t["fat"])
    inner = np.maximum(front + t["fat_front"] - u, u - back + t["fat_back"])
    paint(signal, 0.6 * cover(np.abs(inner) - 0.012), FASCIA)
    _paint_muscle(signal, scene, inner, fat)


def _paint_muscle(signal: Field, scene: Scene, inner: Field, fat: Field) -> None:
    """Muscle, two fat planes in it, and the fat and the vessels in the hollow behind the joint."""
    u, v = scene.u, scene.v
    deep = inner + 0.03
    paint(signal, cover(inner + 0.015), scene.traits["muscle"] * (1.0 + 0.12 * scene.fibres + 0.06 * scene.grain))
    for plane in (scene.draw(0.30, 0.50), scene.draw(0.12, 0.26)):
        line = np.abs(u - plane - 0.10 * v * v + 0.05 * scene.mottle) - 0.014
        paint(signal, 0.55 * cover(np.maximum(line, deep)), fat)
    hollow = ellipse(u, v, (0.46, scene.draw(-0.25, 0.05)), (0.12, scene.draw(0.22, 0.40)))
    paint(signal, 0.9 * cover(np.maximum(hollow + 0.03 * scene.mottle, deep), 0.1), 0.95 * fat)
    for _ in range(2):
        centre, radii = (scene.draw(0.40, 0.52), scene.draw(-0.45, 0.30)), (0.035, scene.draw(0.05, 0.16))
        paint(signal, cover(ellipse(u, v, centre, radii, scene.draw(-0.3, 0.3))), scene.draw(0.03, 0.25))


def _paint_extensor(signal: Field, scene: Scene) -> None:
    """The fat pad below the kneecap and the dark tendons above and below it."""
    t, u, v = scene.traits, scene.u, scene.v
    kneecap, height, reach = kneecap_u(t), t["patella_v"], 0.7 * t["patella_size"]
    pad = ellipse(u, v, (kneecap + 0.12, 0.12), (0.15, 0.22), 0.2) + 0.02 * scene.mottle
    paint(signal, cover(pad), t["fat"] * (0.95 + 0.06 * scene.grain + 0.05 * scene.mottle))
    above = capsule(u, v, (kneecap - 0.02, height - reach), (kneecap + 0.13, -1.6), 0.028)
    below = capsule(u, v, (kneecap - 0.03, height + reach), (kneecap + 0.12, 0.55), 0.026)
    paint(signal, cover(above), t["tendon"])
    paint(signal, cover(below), t["tendon"])


def _paint_joint(signal: Field, scene: Scene) -> None:
    """Cartilage on both bones and the dark wedges of the menisci between them."""
    t, u, femur, tibia = scene.traits, scene.u, scene.femur, scene.tibia
    layer = t["cartilage"] * (1.0 + 0.05 * scene.grain)
    thickness = 0.62 * t["gap"]
    paint(signal, cover(np.maximum(band(femur, 0.0, thickness), tibia - 0.35)), layer)
    paint(signal, cover(np.maximum(band(tibia, 0.0, thickness), femur - 0.12)), layer)
    between = band(u, t["femur_u"] - t["condyle_u"], t["femur_u"] + t["condyle_u"] + 0.03)
    off_centre = 0.17 - np.abs(u - t["femur_u"] - 0.02)
    near_both = np.maximum(femur, tibia) - 0.13
    paint(signal, cover(np.maximum(near_both, np.maximum(off_centre, between))), MENISCUS)


def _paint_bones(signal: Field, scene: Scene) -> None:
    """Dark cortex around marrow, and the faint scar of the femur's growth plate."""
    t, u, v = scene.traits, scene.u, scene.v
    marrow = t["marrow"] * (1.0 + 0.05 * scene.grain + 0.06 * scene.mottle)
    for bone in (scene.femur, scene.tibia, fibula(scene), patella(scene)):
        paint(signal, cover(bone), CORTEX)
        paint(signal, cover(bone + t["cortex"]), marrow)
    scar = np.abs(v + 0.32 + 0.1 * u * u) - 0.01
    paint(signal, 0.25 * cover(scar) * cover(scene.femur + 0.06), FASCIA)


def _acquire(signal: Field, scene: Scene) -> npt.NDArray[np.uint8]:
    """What the scanner adds: coil shading, blur, contrast, Rician noise, 8 bits."""
    t = scene.traits
    x, y = pixel_centres()
    shading = np.exp(t["bias_u"] * x + t["bias_v"] * y - t["falloff"] * (x * x + 1.6 * y * y))
    # A coil that falls off more is turned up more, so that frames come out about equally bright.
    image = np.clip(signal, 0.0, None) * shading * t["gain"] * (1.0 + 0.6 * t["falloff"])
    for frame, sigma in zip(image, t["blur"].ravel(), strict=True):
        cv2.GaussianBlur(frame, (0, 0), float(sigma), dst=frame)
    image = np.clip(image, 0.0, None) ** t["gamma"]
    real, imaginary = (t["noise"] * scene.rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2))
    magnitude = np.sqrt((image + real) ** 2 + imaginary**2)
    return np.clip(np.rint(magnitude * 255.0), 0, 255).astype(np.uint8)
