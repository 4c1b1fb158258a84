"""Devices by name."""

import pytest
import torch

from protscribe.devices import find_device
from protscribe.errors import DeviceError


def test_the_cpu_is_always_there():
    assert find_device("cpu") == torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto").type == "cuda"


@pytest.mark.parametrize(("name", "there"), [("cuda", 0), ("cuda:0", 0), ("cuda:7", 4), ("cuda:4", 4)])
def test_a_missing_device_is_no_other_device(monkeypatch, name, there):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(DeviceError) as caught:
        find_device(name)
    assert caught.value.code == "device.missing"
    assert repr(name) in caught.value.message


def test_the_last_device_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert find_device("cuda:3") == torch.device("cuda", 3)


@pytest.mark.parametrize("name", ["gpu", "", "meta", "cuda:x", "cpu:", "xpu"])
def test_a_name_that_is_no_device(name):
    with pytest.raises(DeviceError) as caught:
        find_device(name)
    assert caught.value.code == "device.unknown"
