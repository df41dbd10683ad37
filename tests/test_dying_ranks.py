"""A rank that dies, or hangs, in the middle of work that all ranks share: the others stop."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import PATIENCE, endings, needs_gloo
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torchmetrics.utilities.distributed import gather_all_tensors

from photoz_losses import CDELoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss
from photoz_losses.metrics import MAD

BOUND = 30.0  # seconds; below PATIENCE, the timeout of the group
HANGING = 3.0  # seconds, the timeout of the group of which a rank hangs
STARTING = 20.0  # and where it must suffice for the ranks to find one another too
GRACE = 30.0  # seconds that torchrun gives a rank to end, before it kills it
BINS = RedshiftBins.uniform(0.0, 0.4, 6)
GONE = "Connection (closed|reset) by peer|Broken pipe"


def train(end, group=None, meanwhile=lambda: None):
    """Steps of a small network; the last rank ends in the third backward, and the first is late."""
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(5, 6), process_group=group)
    loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(BINS)), "cde": (0.1, CDELoss(BINS))})
    colours, z_spec = torch.randn(4, 5), 0.4 * torch.rand(4)
    for step in range(4):
        logits = model(colours)
        if step == 2 and dist.get_rank() == dist.get_world_size() - 1:
            logits.register_hook(lambda gradient: end())
        if step == 2 and dist.get_rank() == 0:
            meanwhile()
        loss(logits=logits, z_spec=z_spec)[0].backward()


def compute(end):
    """A metric over the ranks; the last one ends when it has sent the first of three states."""
    sent = []

    def gather(state, group=None):
        if sent and dist.get_rank() == dist.get_world_size() - 1:
            end()
        sent.append(state)
        return gather_all_tensors(state, group)

    metric = MAD(dist_sync_fn=gather)
    metric.update(torch.rand(5), torch.rand(5))
    metric.compute()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(3)


def hang_until_gone(processes):
    """Leave when the others have, which do not know that."""
    while any(alive(pid) for pid in processes):
        time.sleep(0.1)
    os._exit(3)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def killed_in_a_step(rank, ranks):
    train(kill)


def left_in_a_step(rank, ranks):
    train(leave)


def killed_in_a_metric(rank, ranks):
    compute(kill)


def left_in_a_metric(rank, ranks):
    compute(leave)


def hung_in_a_step(rank, ranks):
    processes = [torch.zeros((), dtype=torch.int64) for _ in range(ranks)]
    dist.all_gather(processes, torch.tensor(os.getpid()))
    others = [int(pid) for pid in processes[:-1]]
    train(lambda: hang_until_gone(others), dist.new_group(timeout=timedelta(seconds=HANGING)))


@needs_gloo
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        (killed_in_a_step, -signal.SIGKILL),
        (left_in_a_step, 3),
        (killed_in_a_metric, -signal.SIGKILL),
        (left_in_a_metric, 3),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_when_a_rank_dies_the_others_stop_with_an_error(scenario, code, ranks):
    *others, dead = endings(scenario, ranks)
    assert dead.exitcode == code
    for other in others:
        assert other.exitcode == 1
        assert other.seconds < BOUND < PATIENCE
        assert re.search(f"RuntimeError: .*({GONE})", other.complaints), other.complaints


@pytest.mark.slow
@needs_gloo
def test_when_a_rank_hangs_the_others_stop_after_the_timeout_of_the_group():
    *others, hanging = endings(hung_in_a_step, 3)
    assert hanging.exitcode == 3
    for other in others:
        assert other.exitcode == 1
        assert other.seconds < HANGING + BOUND < PATIENCE
        assert re.search(r"RuntimeError: .*[Tt]imed out", other.complaints), other.complaints


@needs_gloo
@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "message", "bound"),
    [
        ("script", r"Signal 9 \(SIGKILL\) received by PID", BOUND),
        ("trainer", r"Signal 9 \(SIGKILL\) received by PID", BOUND),
        ("hanging trainer", r"RuntimeError: .*[Tt]imed out", STARTING + GRACE + BOUND),
    ],
)
def test_when_a_rank_fails_torchrun_stops_the_others(work, message, bound, tmp_path):
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", __file__]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.getenv("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *command, work, tmp_path],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
    )
    ended = time.time()
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr
    assert ended - float((tmp_path / "failed").read_text()) < bound
    ranks = {int(file.name) for file in (tmp_path / "ranks").iterdir()}
    assert len(ranks) == 3
    assert not [pid for pid in ranks if alive(pid)]


def started_by_torchrun(work, folder):
    """Train until the last rank fails; in the script, the first is busy with other things."""
    (folder / "ranks").mkdir(exist_ok=True)
    (folder / "ranks" / str(os.getpid())).touch()

    def end():
        (folder / "failed").write_text(str(time.time()))
        time.sleep(10 * BOUND) if work == "hanging trainer" else kill()

    if work == "script":
        dist.init_process_group("gloo")
        train(end, meanwhile=lambda: time.sleep(10 * BOUND))
    else:
        train_by_lightning(end)


def train_by_lightning(end):
    """The trainer of the examples."""
    import tiny_training

    class Failing(tiny_training.L.Callback):
        def on_train_batch_start(self, trainer, *args):
            if trainer.global_step == 2 and trainer.global_rank == 2:
                end()

    config = replace(tiny_training.CONFIG, devices=3, batch=12, timeout=STARTING)
    network, view = tiny_training.Flat(), tiny_training.Flip()
    tiny_training.train(config, network=network, view=view, callbacks=[Failing()])


if __name__ == "__main__":
    torch.set_num_threads(1)
    started_by_torchrun(sys.argv[1], Path(sys.argv[2]))
