"""Memory of a measurement does not grow with the number of images."""

import subprocess
import sys

import pytest

GROWTH = """
import resource, torch
from torch import nn
from diffstab.measuring import DeviceSettings, PassSettings, measure

class Made(torch.utils.data.Dataset):
    def __init__(self, count):
        self.count = count
    def __len__(self):
        return self.count
    def __getitem__(self, number):
        generator = torch.Generator().manual_seed(number)
        small = torch.rand(1, 3, 16, 16, generator=generator)
        return nn.functional.interpolate(small, size=160, mode="bilinear")[0], number % 10

def peak(count):
    measure(net, Made(count), settings=settings, devices=DeviceSettings("cpu", batch_size=8))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

torch.set_num_threads(1)
net = nn.Sequential(nn.Conv2d(3, 4, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
settings = PassSettings(deltas=("2px",), layers=("*",), bootstrap=100)
print(peak(100), peak(500))
"""


@pytest.mark.contract
def test_five_times_as_many_images_take_the_memory_of_a_few_batches():
    answer = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    few, many = map(float, answer.stdout.split()[-2:])
    # 400 further images are 120 MB, and as much for each version of them.
    assert many - few < 60
