"""The pictures of docs/concepts.md: the reading of the bins, and a spectrum at other redshifts."""

from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib import pyplot
from matplotlib.figure import Figure

from photoz_losses import RedshiftBins, flux_loss, flux_residual
from photoz_losses.metrics import pit
from photoz_losses.photometry import FilterSet, SyntheticPhotometry, Templates

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "0.55"
CARD = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
BANDS = ("#332288", "#117733", "#999933", "#cc6677", "#882255")  # Tol's muted, u to z
GALAXY = torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0]])  # the old one of kcorrect's five templates
Z_SPEC, ELSEWHERE = 0.10, 0.20


def build(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Callable[[], Figure]] = {
        "reading": reading,
        "shift": shift,
        "residual": residuals,
    }
    for name, draw in pictures.items():
        figure = draw()
        figure.savefig(target / f"{name}.png", dpi=120)
        pyplot.close(figure)


def reading() -> Figure:
    """Five unequal bins: the density, and the CDF with its PIT and median."""
    bins = RedshiftBins([0.0, 0.04, 0.07, 0.10, 0.15, 0.25])
    probs = torch.tensor([0.10, 0.20, 0.35, 0.25, 0.10], dtype=torch.float64)
    z_spec = torch.tensor([0.12], dtype=torch.float64)
    edges, density = bins.edges.numpy(), bins.density(probs).numpy()
    below = torch.cat([torch.zeros(1), probs.cumsum(-1)]).numpy()
    mass = float(pit(probs[None], z_spec, bins))
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    axes[0].stairs(density, edges, fill=True, color="0.87")
    axes[0].stairs(density, edges, color=BLUE, lw=2)
    inside = bins.index(z_spec).item()
    for c, (z, height, p) in enumerate(zip(bins.centers.tolist(), density, probs, strict=True)):
        left, right = edges[c], min(edges[c + 1], z_spec.item())
        if c <= inside:
            axes[0].fill_between([left, right], height, color=VERMILLION, alpha=0.25, lw=0)
        axes[0].text(z, 0.45, f"{p:.2f}", ha="center", color=BLUE, bbox=CARD, zorder=5)
    for name, value, style in (("mean", bins.mean(probs), "--"), ("mode", bins.mode(probs), ":")):
        axes[0].axvline(value.item(), color=GREY, ls=style, lw=1.5, label=name)
    axes[0].axvline(z_spec.item(), color=VERMILLION, lw=1.5, label=r"$\hat z$")
    axes[0].set(xlabel="$z$", ylabel="density $p_c/\\Delta_c$", xlim=(0, 0.25), ylim=(0, 13.5))
    axes[0].set_title("numbers: masses $p_c$, the areas", fontsize=10)
    axes[0].legend(frameon=False)
    axes[1].plot(edges, below, color=BLUE, lw=2, marker="o", ms=4)
    axes[1].plot([z_spec.item()] * 2 + [0], [0, mass, mass], color=VERMILLION, lw=1.5)
    axes[1].text(0.005, mass + 0.02, f"PIT {mass:.2f}", color=VERMILLION)
    middle = bins.median(probs).item()
    axes[1].plot([0, middle, middle], [0.5, 0.5, 0], color=GREY, lw=1.5, ls="-.")
    axes[1].text(0.005, 0.52, "0.5", color="0.35")
    axes[1].text(middle - 0.003, 0.03, "median", color="0.35", ha="right")
    axes[1].text(z_spec.item() + 0.003, 0.03, r"$\hat z$", color=VERMILLION)
    axes[1].set(xlabel="$z$", ylabel="CDF", xlim=(0, 0.25), ylim=(0, 1.03))
    axes[1].set_title("straight lines between the edges", fontsize=10)
    return figure


def galaxy() -> tuple[torch.Tensor, torch.Tensor, FilterSet]:
    """An observed spectrum [1, L] of a template at ``Z_SPEC``, its wavelengths, SDSS's filters."""
    wavelength = 10 ** torch.arange(3.32, 4.2, 1e-4, dtype=torch.float64)
    z = torch.tensor([Z_SPEC], dtype=torch.float64)
    flux = Templates.from_kcorrect().spectrum(GALAXY.double(), wavelength, z)
    at = (wavelength - 6200).abs().argmin()
    return wavelength, flux / flux[:, at], FilterSet.from_speclite("sdss2010-*")


def shift() -> Figure:
    """The spectrum as observed and put at ``ELSEWHERE``, over the filters, which stay."""
    wavelength, flux, filters = galaxy()
    nu = (1 + ELSEWHERE) / (1 + Z_SPEC)
    figure, axes = pyplot.subplots(
        2, 1, figsize=(8, 5.4), sharex=True, height_ratios=[2, 1], layout="constrained"
    )
    axes[0].plot(wavelength, flux[0], color=BLUE, lw=1, label=r"observed, at $\hat z = 0.10$")
    axes[0].plot(
        nu * wavelength, flux[0], color=VERMILLION, lw=1,
        label=rf"put at $z = {ELSEWHERE}$: $\lambda' = \nu\lambda$, $\nu = {nu:.3f}$",
    )  # fmt: skip
    break_at = 4000 * (1 + Z_SPEC)
    axes[0].annotate(
        "", (nu * break_at, 0.95), (break_at, 0.95), arrowprops={"arrowstyle": "->", "color": "0.3"}
    )
    axes[0].text((1 + nu) / 2 * break_at, 0.99, r"$\times\,\nu$", ha="center", color="0.3")
    axes[0].set(ylabel=r"$F$, any constant", ylim=(0, 1.35), xlim=(2900, 11300))
    axes[0].legend(frameon=False, loc="upper right")
    curves = zip("ugriz", filters.wavelengths, filters.responses, BANDS, strict=True)
    for name, at, response, colour in curves:
        axes[1].fill_between(at, response, color=colour, alpha=0.3, lw=0)
        axes[1].plot(at, response, color=colour, lw=1)
        middle = (at * response).sum() / response.sum()
        axes[1].text(middle, 0.54, f"${name}$", ha="center", color=colour)
    axes[1].set(xlabel="wavelength in the observer's frame, Å", ylabel="$R$", ylim=(0, 0.62))
    return figure


def residuals() -> Figure:
    """The residual of each bin and band, and two densities with their losses."""
    wavelength, flux, filters = galaxy()
    bins = RedshiftBins.uniform(0.0, 0.4, 180)
    z = torch.tensor([Z_SPEC], dtype=torch.float64)
    residual, weight = flux_residual(SyntheticPhotometry(filters, wavelength), flux, z, bins)
    figure, axes = pyplot.subplots(
        2, 1, figsize=(8, 5.4), sharex=True, height_ratios=[2, 1], layout="constrained"
    )
    for name, curve, colour in zip("ugriz", residual[0].unbind(-1), BANDS, strict=True):
        axes[0].plot(bins.centers, curve, color=colour, lw=2, label=f"${name}$")
    axes[0].axhline(0, color=GREY, lw=0.8)
    axes[0].set(ylabel=r"$r_{cb} = \Phi'_b(\nu_c)\,/\,\Phi'_b(1) - 1$")
    axes[0].legend(frameon=False, ncols=5, loc="lower left")
    for peak, colour in ((Z_SPEC, BLUE), (ELSEWHERE, VERMILLION)):
        logits = -((bins.centers - peak) / 0.015).square()[None] / 2
        loss = float(flux_loss(logits, residual, weight))
        density = bins.density(logits.softmax(-1))[0]
        label = rf"$P_\mathrm{{Flux}}$ = {loss:.3f}"
        axes[1].stairs(density, bins.edges, color=colour, lw=1.5, label=label)
    axes[1].set(xlabel="$z$", ylabel="density", xlim=(0, 0.4))
    axes[1].legend(frameon=False)
    for ax in axes:
        ax.axvline(Z_SPEC, color=GREY, lw=0.8)
    axes[1].text(Z_SPEC + 0.003, 1, r"$\hat z$", color="0.35")
    return figure
