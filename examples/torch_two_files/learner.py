"""A learner over two files, whose examples are loaded by two processes of a DataLoader."""

import zlib

import torch
from model import Moons, build  # beside this file
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from fedmq import EvaluateRequest, TorchLearner, TrainRequest


def fit(model, request: TrainRequest):
    moons = Moons(200, seed=zlib.crc32(request.worker_id.encode()))
    loader = DataLoader(moons, batch_size=20, shuffle=True, num_workers=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for points, labels in loader:
        optimizer.zero_grad()
        loss = cross_entropy(model(points.to(request.device)), labels.to(request.device))
        loss.backward()
        optimizer.step()
        if request.cancelled():
            break
    return len(moons), {"loss": loss.item()}


def evaluate(model, request: EvaluateRequest):
    held_out = Moons(500, seed=1)
    points, labels = next(iter(DataLoader(held_out, batch_size=len(held_out))))
    right = model(points.to(request.device)).argmax(1) == labels.to(request.device)
    return {"accuracy": right.float().mean()}


learner = TorchLearner(build, fit, evaluate)
