"""The model and its data: two half moons, to be told apart."""

import math

import torch
from torch import nn
from torch.utils.data import Dataset


class Moons(Dataset):
    """Points on two half circles, each example made when it is asked for."""

    def __init__(self, size, seed):
        self.angles = torch.rand(size, generator=torch.Generator().manual_seed(seed)) * math.pi

    def __len__(self):
        return len(self.angles)

    def __getitem__(self, index):
        angle, label = self.angles[index], index % 2
        x, y = torch.cos(angle), torch.sin(angle)
        point = torch.stack([1 - x, 0.5 - y]) if label else torch.stack([x, y])
        return point, label


def build():
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
