"""Draw a galaxy's cut-out in u g r i z with exactly the fluxes that it was measured to have.

kcorrect's package holds no images, so what a galaxy looks like is drawn at random from

- half-light radius: Shen et al. 2003 (MNRAS 343, 978), lognormal, in kpc, between their early
  and late types by the bulge's share of the light; Planck 2018 makes it an angle;
- bulge share in r: a step in rest-frame g - r near the colour that divides red from blue galaxies
  (Blanton et al. 2003, ApJ 594, 186), with scatter; in the other bands the bulge is redder than the
  disc by fixed magnitudes. Step and magnitudes are this module's choice;
- bulge Sersic n = 4, disc n = 1; axis ratio, position angle and sub-pixel centre uniform;
- seeing: median of the point-spread functions of 25 real SDSS stamps, band by band;
- noise: Gaussian, as the sky's on those stamps; none of the galaxy's own light, no neighbours.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

Array = NDArray[Any]

SIZE, PIXEL = 64, 0.396  # pixels, arcsec
SEEING = (1.33, 1.24, 1.18, 1.11, 1.02)  # FWHM in u g r i z, arcsec
PSF_WEIGHT, PSF_SIGMA = (0.64, 0.29, 0.07), (0.41, 0.88, 2.38)  # three Gaussians of z, arcsec
SKY_NOISE = (0.040, 0.016, 0.026, 0.041, 0.161)  # standard deviation in u g r i z, nanomaggies
BULGE_SHARE, BULGE_STEP, BULGE_SCATTER = (0.1, 0.7), (0.75, 0.06), 0.15  # blue, red; g - r, width
BULGE_OVER_DISC = (-0.60, -0.25, 0.0, 0.10, 0.20)  # how much redder than the disc, against r, mag
RADIUS_LIMITS = (0.4, 8.0)  # half-light radius, arcsec
CHUNK = 32  # galaxies in one worker's task


def draw_all(
    looks: Array,
    flux: Array,
    seed: int,
    workers: int | None,
    progress: bool,
    seeing: float = 1.0,
) -> Array:
    """Noisy images [N, 5, 64, 64], float32, nanomaggies.

    ``looks`` [N, 4]: identity, rest-frame M_r and g - r, arcsec per kpc. Every galaxy draws from
    random numbers of its own, of (``seed``, identity): neither the others nor the number of
    ``workers`` (default: one for each core) changes it, and under another ``seeing``, in units of
    the usual one, it is the same galaxy with the same noise.
    """
    starts = range(0, len(looks), CHUNK)
    parts = [slice(start, start + CHUNK) for start in starts]
    jobs = [(looks[part], flux[part], seed, seeing) for part in parts]
    image = np.empty((len(looks), 5, SIZE, SIZE), np.float32)
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    with (
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,
        tqdm(total=len(looks), desc="drawing galaxies", disable=not progress) as bar,
    ):
        drawn = pool.map(_draw_chunk, jobs) if workers > 1 else map(_draw_chunk, jobs)
        for start, chunk in zip(starts, drawn, strict=True):
            image[start : start + CHUNK] = chunk
            bar.update(len(chunk))
    return image


def _draw_chunk(job: tuple[Array, Array, int, float]) -> Array:
    looks, fluxes, seed, seeing = job
    image = np.empty((len(looks), 5, SIZE, SIZE), np.float32)
    for k, (identity, magnitude, colour, arcsec_per_kpc) in enumerate(looks):
        rng = np.random.default_rng([seed, int(identity)])
        clean = draw_galaxy(fluxes[k], magnitude, colour, arcsec_per_kpc, rng, seeing)
        image[k] = clean + np.array(SKY_NOISE)[:, None, None] * rng.standard_normal(clean.shape)
    return image


def draw_galaxy(
    flux: Array,
    magnitude: float,
    colour: float,
    arcsec_per_kpc: float,
    rng: np.random.Generator,
    seeing: float = 1.0,
) -> Array:
    """Noise-free image [5, 64, 64] whose bands sum to ``flux``.

    ``magnitude`` and ``colour``: rest-frame M_r and g - r, in bands blueshifted by 0.1.
    """
    share = _bulge_share(colour, rng)
    bulge_r = float(share[2])
    radius = arcsec_per_kpc * np.exp(_log_radius(magnitude, bulge_r, rng))
    pose = (rng.uniform(0, np.pi) * galsim.radians, rng.uniform(-0.5, 0.5, 2))
    bulge = _draw_profile(4, (0.3 + 0.5 * bulge_r) * radius, rng.uniform(0.6, 1.0), *pose, seeing)
    disc = _draw_profile(1, 1.2 * radius, rng.uniform(0.25, 1.0), *pose, seeing)
    light = share[:, None, None] * bulge + (1 - share)[:, None, None] * disc
    return np.asarray(flux[:, None, None] * _broaden(light, seeing))


def _bulge_share(colour: float, rng: np.random.Generator) -> Array:
    """Bulge's share of the light in each band, within 0 ... 1 in all of them."""
    (blue, red), (step, width) = BULGE_SHARE, BULGE_STEP
    mean = blue + (red - blue) / (1 + np.exp((step - colour) / width))
    share = np.clip(mean + BULGE_SCATTER * rng.standard_normal(), 0.01, 0.95)
    odds = share / (1 - share) * 10 ** (0.4 * np.array(BULGE_OVER_DISC))
    return np.asarray(odds / (1 + odds))


def _log_radius(magnitude: float, bulge: float, rng: np.random.Generator) -> float:
    """Natural log of the half-light radius in kpc (Shen et al. 2003, eqs. 14-16 and table 1)."""
    faintness = magnitude + 20.52
    late = -0.4 * 0.21 * magnitude + 0.32 * np.log10(1 + 10 ** (-0.4 * faintness)) - 1.31
    early = -0.4 * 0.60 * magnitude - 4.63
    scatter = 0.25 + 0.23 / (1 + 10 ** (-0.8 * faintness))
    mean = np.log(10) * (bulge * early + (1 - bulge) * late)
    return float(mean + scatter * rng.standard_normal())


def _draw_profile(
    n: int, radius: float, ratio: float, angle: Any, centre: Array, seeing: float
) -> Array:
    """Sersic profile under the sharpest band's seeing, of unit sum in the stamp."""
    coarse = galsim.GSParams(folding_threshold=0.02, maximum_fft_size=2048)
    profile = galsim.Sersic(n, half_light_radius=np.clip(radius, *RADIUS_LIMITS), gsparams=coarse)
    parts = zip(PSF_WEIGHT, PSF_SIGMA, strict=True)
    psf = galsim.Add([galsim.Gaussian(sigma=seeing * s, flux=weight) for weight, s in parts])
    seen = galsim.Convolve(profile.shear(q=ratio, beta=angle), psf, gsparams=coarse)
    # "no_pixel": the point-spread functions that SDSS measures already hold the pixel.
    image = seen.drawImage(nx=SIZE, ny=SIZE, scale=PIXEL, method="no_pixel", offset=centre)
    light = np.maximum(image.array.astype(np.float64), 0)
    return np.asarray(light / light.sum())


def _broaden(light: Array, seeing: float) -> Array:
    """From the sharpest band's seeing to each band's [5, 64, 64]; the sums stay."""
    down, across = np.fft.fftfreq(SIZE, PIXEL)[:, None], np.fft.rfftfreq(SIZE, PIXEL)
    fwhm = seeing * np.array(SEEING)[:, None, None]
    variance = (fwhm**2 - fwhm.min() ** 2) / (8 * np.log(2))
    transfer = np.exp(-2 * np.pi**2 * variance * (down**2 + across**2))
    return np.fft.irfft2(transfer * np.fft.rfft2(light), (SIZE, SIZE))
