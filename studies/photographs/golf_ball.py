"""Draws the picture that the package's model of photographs is shown with: a golf ball on grass.

    python studies/photographs/golf_ball.py docs/golf_ball.jpg

A sphere with 336 dimples in sunlight, in front of blades of noise; drawn, so that everybody may
have it.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 480
CENTER, RADIUS = np.array([225.0, 250.0]), 130.0
LIGHT = np.array([-0.45, -0.65, 0.61])
"""Towards the sun: right, down, to the viewer."""

DIMPLES, DIMPLE_RADIUS, DEPTH = 336, 0.092, 0.7


def grass(rng: np.random.Generator) -> Image.Image:
    """Blades over one another, lighter and sharper towards the viewer."""
    picture = Image.new("RGB", (SIZE, SIZE), (42, 74, 24))
    for distance in np.linspace(0, 1, 7):
        layer = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
        draw = ImageDraw.Draw(layer)
        for _ in range(900):
            x, y = rng.uniform(-20, SIZE + 20), rng.uniform(distance - 0.25, distance + 0.1) * SIZE
            length, lean = (20 + 60 * distance) * rng.uniform(0.5, 1), rng.normal(0, 14)
            green = rng.uniform(80, 175) * (0.7 + 0.3 * distance)
            color = (int(green * rng.uniform(0.45, 0.75)), int(green), int(green * 0.28), 255)
            width = 1 + round(3 * distance * rng.uniform(0.4, 1))
            blade = [(x, y), (x + lean * 0.3, y - length / 2), (x + lean, y - length)]
            draw.line(blade, color, width)
        picture.paste(layer, mask=layer)
        picture = picture.filter(ImageFilter.GaussianBlur(float(2.2 * (1 - distance))))
    return picture


def ball() -> tuple[np.ndarray, np.ndarray]:
    """Colours, and how much of each pixel it covers."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    u, v = (x - CENTER[0]) / RADIUS, (y - CENTER[1]) / RADIUS
    distance = np.hypot(u, v)
    normal = np.stack([u, v, np.sqrt(np.clip(1 - distance**2, 0, 1))], -1)
    # Spread evenly over the sphere, along the golden angle.
    n = np.arange(DIMPLES) + 0.5
    height, turn = 1 - 2 * n / DIMPLES, np.pi * (1 + 5**0.5) * n
    ring = np.sqrt(1 - height**2)
    places = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], -1)
    near = places[np.argmax(normal @ places.T, -1)]
    offset = normal - near * np.sum(normal * near, -1, keepdims=True)
    far = np.linalg.norm(offset, axis=-1, keepdims=True) / DIMPLE_RADIUS
    bent = normal - DEPTH * np.where(far < 1, offset / DIMPLE_RADIUS * (1 - far**2), 0)
    bent /= np.linalg.norm(bent, axis=-1, keepdims=True)
    sun = np.clip(bent @ LIGHT, 0, 1)
    half = LIGHT + np.array([0, 0, 1])
    shine = np.clip(bent @ (half / np.linalg.norm(half)), 0, 1) ** 40
    sky = 0.5 - 0.5 * bent[..., 1]
    shade = 0.62 * sun + 0.2 * sky + 0.16 + 0.25 * shine
    ground = np.clip(bent[..., 1], 0, 1)[..., None] * np.array([-0.10, 0.02, -0.14])
    colors = 255 * (shade[..., None] * np.array([1.0, 0.99, 0.96]) + ground)
    return colors, np.clip((1 - distance) * RADIUS + 0.5, 0, 1)


def draw() -> Image.Image:
    rng = np.random.default_rng(0)
    lawn = grass(rng)
    shadow = Image.new("L", (SIZE, SIZE), 0)
    x, y = CENTER + RADIUS * np.array([0.4, 0.78])
    ellipse = (x - 1.15 * RADIUS, y - 0.36 * RADIUS, x + 1.15 * RADIUS, y + 0.36 * RADIUS)
    ImageDraw.Draw(shadow).ellipse(ellipse, fill=170)
    dark = np.asarray(shadow.filter(ImageFilter.GaussianBlur(16)), float)[..., None] / 255
    scene = np.asarray(lawn, float) * (1 - 0.75 * dark)
    colors, cover = ball()
    scene += (colors - scene) * cover[..., None]
    picture = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
    front = ImageDraw.Draw(picture)  # blades in front of the ball
    for _ in range(70):
        x, y = CENTER + RADIUS * np.array([rng.uniform(-1, 1), rng.uniform(0.92, 1.3)])
        tip = (x + rng.normal(0, 10), y - rng.uniform(18, 48))
        green = rng.uniform(100, 180)
        front.line([(x, y), tip], (int(0.6 * green), int(green), int(0.3 * green)), 3)
    noise = rng.normal(0, 4, (SIZE, SIZE, 3))
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7)), float)
    whole = Image.fromarray(np.clip(soft + noise, 0, 255).astype(np.uint8))
    return whole.resize((SIZE * 2 // 3, SIZE * 2 // 3), Image.Resampling.LANCZOS)


@click.command(help=__doc__)
@click.argument("target", type=click.Path(path_type=Path))
def main(target: Path) -> None:
    draw().save(target, quality=88)


if __name__ == "__main__":
    main()
