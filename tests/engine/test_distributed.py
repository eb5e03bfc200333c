"""DDP and FSDP2 in real processes over gloo: as torch.optim in the same place."""

import os
import socket
import subprocess
import sys

import pytest
import torch.distributed

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")

SCRIPT = """
import sys, torch, torch.distributed as dist, dlopt
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()


def model(wrap):
    torch.manual_seed(0)
    bias = sys.argv[2] != "Muon"
    net = torch.nn.Sequential(torch.nn.Linear(8, 6, bias=bias), torch.nn.Tanh(), torch.nn.Linear(6, 4, bias=bias))
    return wrap(net)


def train(net, opt, steps):
    for k in range(steps):
        x = torch.randn(4, 8, generator=torch.Generator().manual_seed(10 * k + rank))
        opt.zero_grad()
        net(x).square().mean().backward()
        opt.step()


def full(net):
    return [p.full_tensor() if hasattr(p, "full_tensor") else p.detach() for p in net.parameters()]


def shard(net):
    fully_shard(net, mesh=torch.distributed.device_mesh.init_device_mesh("cpu", (2,)))
    return net


wrap = DistributedDataParallel if sys.argv[1] == "ddp" else shard
settings = dict(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
results = []
for library in (dlopt, torch.optim):
    optimizer, net = getattr(library, sys.argv[2]), model(wrap)
    opt = optimizer(net.parameters(), **settings)
    train(net, opt, 3)
    saved = get_optimizer_state_dict(net, opt)
    again = optimizer(net.parameters(), **settings)
    set_optimizer_state_dict(net, again, saved)
    train(net, again, 3)
    results.append(full(net))
for a, b in zip(*results):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("optimizer", ["SGD", "Muon"])
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes(kind, optimizer, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    base = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    workers = [
        subprocess.Popen(
            [sys.executable, str(script), kind, optimizer],
            env={**base, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    output = [w.communicate(timeout=120)[0] for w in workers]
    assert [w.returncode for w in workers] == [0, 0], "\n".join(output)
