"""A dataset that a spawned worker can import: the files of the tests it cannot."""

import torch
from torch.utils.data import Dataset

IMAGE = torch.arange(3 * 9 * 9, dtype=torch.float32).reshape(3, 9, 9).sin()


class Views(Dataset):
    """Eight times the same image, each time seen anew: all that differs is the draw."""

    def __init__(self, view):
        self.view = view

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.view(IMAGE.expand(16, -1, -1, -1))
