"""Image processing as a graph: photographs are loaded and resized, four effects and a thumbnail are made of each, the effects are
measured, and all of it becomes one collage, saved as PNG bytes.

Run it with `scripts/demo`, or on your own cluster with `handoff run scripts/examples/images/images.py:images --coordinator HOST:PORT`.
"""

from __future__ import annotations

import io
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from handoff import DAG

Pixels = NDArray[np.uint8]

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "hubble_deep_field.jpg")
SIZE = (800, 600)
THUMBNAIL = (200, 150)
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])  # the usual tone matrix, RGB in, RGB out
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def load(name: str) -> Pixels:
    """One of the photographs that ship with scikit-image, as RGB pixels."""
    with (files("skimage") / "data" / name).open("rb") as file, Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """The whole picture in another size."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def grayscale(pixels: Pixels) -> Pixels:
    """Brightness only, still three channels so that all effects have one shape."""
    gray = (pixels @ LUMA).round().astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def sepia(pixels: Pixels) -> Pixels:
    """The brown of old prints."""
    return (pixels @ SEPIA.T).clip(0, 255).astype(np.uint8)


def blur(pixels: Pixels, radius: float = 6.0) -> Pixels:
    """A Gaussian blur."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def edges(pixels: Pixels) -> Pixels:
    """The strength of brightness changes (Sobel), the step that asks for a GPU."""
    gray = pixels @ LUMA
    across = gray[:, 2:] - gray[:, :-2]
    down = gray[2:, :] - gray[:-2, :]
    horizontal = across[:-2] + 2 * across[1:-1] + across[2:]
    vertical = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    strength = np.pad(np.hypot(horizontal, vertical), 1).clip(0, 255).astype(np.uint8)
    return np.repeat(strength[:, :, None], 3, axis=2)


def thumbnail(pixels: Pixels) -> Pixels:
    """A small copy."""
    return resize(pixels, *THUMBNAIL)


def quality(name: str, effects: dict[str, Pixels]) -> dict[str, dict[str, float]]:
    """Sharpness (variance of the Laplacian), noise (median deviation from a local mean) and exposure (mean, 0 to 1) of each effect."""
    report = {}
    for effect, pixels in effects.items():
        gray = pixels @ LUMA
        centre = gray[1:-1, 1:-1]
        around = (gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]) / 4
        report[f"{name}: {effect}"] = {
            "sharpness": float(np.var(4 * (around - centre))),
            "noise": float(np.median(np.abs(centre - around))),
            "exposure": float(gray.mean() / 255),
        }
    return report


def collage(rows: list[list[Pixels]], reports: list[dict[str, dict[str, float]]]) -> Pixels:
    """One row a photograph: the thumbnail and its four effects, with the measured sharpness written on each."""
    width, height = THUMBNAIL
    sheet = Image.new("RGB", (width * len(rows[0]), height * len(rows)))
    pen = ImageDraw.Draw(sheet)
    for line, (pictures, report) in enumerate(zip(rows, reports, strict=True)):
        captions = ["", *(f"sharpness {numbers['sharpness']:.0f}" for numbers in report.values())]
        for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            corner = (column * width, line * height)
            sheet.paste(Image.fromarray(resize(picture, width, height)), corner)
            pen.text((corner[0] + 6, corner[1] + 6), caption, fill=(255, 255, 255), stroke_width=2, stroke_fill=(0, 0, 0))
    return np.asarray(sheet)


def save(pixels: Pixels) -> bytes:
    """The picture as the bytes of a PNG file: the client writes it, since nodes may share no disk with it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def images(names: tuple[str, ...] = PHOTOGRAPHS) -> DAG:
    """The graph for these photographs. Memory is in MB; only a node that declares a `gpu` may find edges."""
    dag = DAG("images")
    rows, reports = [], []
    for file in names:
        name = file.partition(".")[0]
        photo = dag.call(load, file, id=f"load {name}", cost={"cpu": 1, "memory": 500})
        picture = dag.call(resize, photo, *SIZE, id=f"resize {name}", cost={"cpu": 2, "memory": 1000})
        effects = {
            "grayscale": dag.call(grayscale, picture, id=f"grayscale {name}", cost={"cpu": 1, "memory": 1000}),
            "sepia": dag.call(sepia, picture, id=f"sepia {name}", cost={"cpu": 2, "memory": 2000}),
            "blur": dag.call(blur, picture, id=f"blur {name}", cost={"cpu": 4, "memory": 4000}),
            "edges": dag.call(edges, picture, id=f"edges {name}", cost={"cpu": 1, "memory": 2000, "gpu": 1}),
        }
        small = dag.call(thumbnail, picture, id=f"thumbnail {name}", cost={"cpu": 1, "memory": 500})
        reports.append(dag.call(quality, name, effects, id=f"quality {name}", cost={"cpu": 2, "memory": 1000}))
        rows.append([small, *effects.values()])
    sheet = dag.call(collage, rows, reports, id="collage", cost={"cpu": 2, "memory": 2000})
    dag.call(save, sheet, id="save", cost={"cpu": 1, "memory": 500})
    return dag
