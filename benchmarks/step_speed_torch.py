"""PyTorch's side of `step_speed.py`, run by an environment that has torch and need not have medwb."""

import json
import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional

SECONDS = 3.0
LABELS = 3


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    """A convolution and its activation."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]


def head(*units: int) -> list[nn.Module]:
    """Dense layers of these widths, and the outputs."""
    hidden = [layer for width in units for layer in (nn.LazyLinear(width), nn.ReLU())]
    return [nn.Flatten(), *hidden, nn.LazyLinear(LABELS)]


def layers(name: str) -> list[nn.Module]:
    """The reference study's networks, as `medwb architectures` lists them."""
    pool, drop, norm = nn.MaxPool2d, nn.Dropout, nn.BatchNorm2d
    if name == "cnn-1":
        return [*conv(1, 256, 3), pool(3), *head(256)]
    if name == "cnn-2":
        first = [*conv(1, 25, 5, 1, 2), pool(2), *conv(25, 50, 5, 2, 2), pool(2), norm(50)]
        return [*first, *conv(50, 70, 3, 2, 1), pool(2), norm(70), *head(100, 100)]
    if name == "cnn-3":
        first = [*conv(1, 50, 3, 1, 1), *conv(50, 75, 3, 1, 1), pool(2), drop(0.25)]
        return [*first, *conv(75, 125, 3, 1, 1), pool(2), drop(0.25), *head(500, 250)]
    if name == "cnn-4":
        return [*conv(1, 32, 5), pool(5), *conv(32, 64, 5), pool(5), *head(1024)]
    blocks = [(1, 32), (32, 64), (64, 128)]
    first = [
        part
        for before, after in blocks
        for part in (*conv(before, after, 3, 1, 1), *conv(after, after, 3), pool(2), drop(0.2))
    ]
    last = [*conv(128, 512, 5, 1, 2), *conv(512, 512, 5), nn.AdaptiveMaxPool2d(1), drop(0.2)]
    return [*first, *last, *head(1024)]


def speed(name: str, precision: str, batch_size: int) -> float:
    """Images a second of forward pass, backward pass and Adam, channels-last."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    images = torch.rand(batch_size, 1, 64, 64).to(memory_format=torch.channels_last)
    targets = torch.randint(0, 2, (batch_size, LABELS)).float()
    network = nn.Sequential(*layers(name))
    network(images)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, foreach=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(images)
        loss = functional.binary_cross_entropy_with_logits(logits.float(), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    step()
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        step()
        steps += 1
    return steps * batch_size / (time.perf_counter() - started)


if __name__ == "__main__":
    print(json.dumps({"images": speed(sys.argv[2], sys.argv[3], int(sys.argv[4]))}))
