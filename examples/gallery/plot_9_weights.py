"""
Weights over the steps
======================

A weight that rises, one that is learnt and one that follows the progress of the losses. The two
losses are made up: one falls fast, the other slowly and is ten times as large.
"""

import torch
from matplotlib import pyplot

from photoz_losses import ReLoBRaLo, UncertaintyWeights, WeightSchedule

steps = 400
schedule = WeightSchedule(1.0, "cosine", steps=200)
learnt = UncertaintyWeights(["ce", "flux"])
progress = ReLoBRaLo(["ce", "flux"], alpha=0.9, rho=0.9)
optimizer = torch.optim.Adam(learnt.parameters(), 0.02)

rows = []
for step in torch.arange(steps):
    losses = {"ce": 0.5 + 4 * 0.98**step, "flux": 5 + 30 * 0.995**step}
    optimizer.zero_grad()
    learnt(losses).backward()
    optimizer.step()
    progress(losses)
    rows.append([schedule.current(), *learnt.factors().values(), *progress.factors().values()])
    schedule.step()
ramp, learnt_ce, learnt_flux, progress_ce, progress_flux = torch.tensor(rows).T

figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
axes[0].plot(ramp)
axes[0].set(title="WeightSchedule, cosine", xlabel="step", ylabel="weight")
pairs = {"UncertaintyWeights": (learnt_ce, learnt_flux), "ReLoBRaLo": (progress_ce, progress_flux)}
for ax, (title, (ce, flux)) in zip(axes[1:], pairs.items(), strict=True):
    ax.plot(ce, label="falls fast")
    ax.plot(flux, label="large and slow")
    ax.set(title=title, xlabel="step", ylabel="weight", xlim=(0, steps))
axes[1].legend(frameon=False, loc="center right")
axes[2].set_ylim(top=1.4)  # room for the legend
axes[2].legend(frameon=False, loc="upper right", ncols=2)
pyplot.show()
