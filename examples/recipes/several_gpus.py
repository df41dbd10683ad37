"""Several GPUs: as many processes, with the gradients of one that sees every galaxy.

torchrun --nproc-per-node 4 several_gpus.py
"""

import os
import sys
from importlib.resources import files

import torch
import torch.distributed as dist
from astropy.io import fits
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from photoz_losses import CDELoss, RedshiftBins, RedshiftCrossEntropy, TotalLoss
from photoz_losses.metrics import photo_z_metrics


def sdss_galaxies(n: int) -> tuple[Tensor, Tensor]:
    """Magnitudes (N, 5) and redshifts (N,), real ones of SDSS, shuffled: put yours here."""
    path = files("kcorrect") / "data" / "test" / "gst_tests_small.fits"
    with fits.open(str(path)) as hdus:
        flux, z = (torch.tensor(hdus[1].data[name].astype("f4")) for name in ("MODELFLUX", "Z"))
    good = ((flux > 0.1).all(-1) & (z > 0) & (z < 0.4)).nonzero().squeeze(-1)
    chosen = good[torch.randperm(len(good))[:n]]
    return 22.5 - 2.5 * flux[chosen].log10(), z[chosen]


def of_all_ranks(total: Tensor, n: int) -> Tensor:
    """This rank's mean over n galaxies, such that DDP's mean over ranks is one over galaxies."""
    galaxies = torch.tensor(float(n), device=total.device)
    dist.all_reduce(galaxies)
    return total * n * dist.get_world_size() / galaxies


if "LOCAL_RANK" not in os.environ:
    sys.exit("start it with torchrun: torchrun --nproc-per-node 2 several_gpus.py")
gpus = torch.cuda.is_available()
dist.init_process_group("nccl" if gpus else "gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpus else torch.device("cpu")
torch.manual_seed(0)  # the same weights, galaxies and order everywhere
bins = RedshiftBins.uniform(0.0, 0.4, 100)
magnitudes, z_spec = sdss_galaxies(1505)
inputs, z_spec = ((magnitudes - 18) / 2).to(device), z_spec.to(device)
network = nn.Sequential(nn.Linear(5, 64), nn.GELU(), nn.Linear(64, len(bins))).to(device)
model = DistributedDataParallel(network)
loss = TotalLoss({"ce": (1.0, RedshiftCrossEntropy(bins)), "cde": (0.002, CDELoss(bins))})
loss.to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(6):
    for rows in torch.randperm(1005).split(100):
        own = rows[rank::ranks]  # unequal shares where a batch is not divisible, as the last here
        total, terms = loss(logits=model(inputs[own]), z_spec=z_spec[own])
        optimizer.zero_grad()
        of_all_ranks(total, len(own)).backward()
        optimizer.step()

metrics = photo_z_metrics(bins).to(device)
network.eval()
with torch.no_grad():
    for rows in torch.arange(1005, 1505)[rank::ranks].split(100):
        metrics.update(probs=network(inputs[rows]).softmax(-1), z_spec=z_spec[rows])
values = metrics.compute()  # of all ranks' galaxies, and so on every rank
if rank == 0:
    print(values)
    torch.save({"network": network.state_dict(), "metrics": values}, "several_gpus.pt")
dist.destroy_process_group()
