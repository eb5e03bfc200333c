import math
import os
import subprocess
import sys

import pytest

from dlopt.lab import cache
from dlopt.lab.cache import cache_directory, environment, load_columns, save_columns, write_atomically


def test_directory_follows_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("DLOPT_CACHE", str(tmp_path / "here"))
    assert cache_directory() == tmp_path / "here"
    assert not (tmp_path / "here").exists()
    monkeypatch.delenv("DLOPT_CACHE")
    assert cache_directory().parts[-2:] == (".cache", "dlopt")


def test_columns_come_back_bit_for_bit(tmp_path):
    columns = {"loss": [0.1 + 0.2, math.inf, 5e-324], "step": [0.0, 1.0, 2.0]}
    save_columns(tmp_path / "a" / "b.npz", columns)
    assert load_columns(tmp_path / "a" / "b.npz") == columns


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"nonsense"])
def test_a_damaged_file_counts_as_missing(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    assert load_columns(tmp_path / "x.npz") is None


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"old")

    def write(stream):
        stream.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, write)
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_environment_sees_every_source_of_the_package(monkeypatch, tmp_path):
    package = tmp_path / "dlopt"
    (package / "lab").mkdir(parents=True)
    (package / "sgd").mkdir()
    (package / "lab" / "cache.py").write_text("")
    (package / "sgd" / "sgd.py").write_text("lr = 1\n")
    monkeypatch.setattr(cache, "__file__", str(package / "lab" / "cache.py"))
    before = environment()
    assert environment() == before
    (package / "sgd" / "sgd.py").write_text("lr = 2\n")
    after = environment()
    assert after["dlopt"] != before["dlopt"]
    (package / "sgd" / "sgd.py").rename(package / "sgd" / "gd.py")
    assert environment()["dlopt"] != after["dlopt"]
    assert before["python"] == sys.version


def test_environment_is_the_same_in_another_process():
    program = "from dlopt.lab.cache import environment; print(environment())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == str(environment())
