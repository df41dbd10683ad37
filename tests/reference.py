"""Slow loops written from the paper's formulas, one galaxy at a time, in NumPy and plain Python.

They share no code with the library, and are what its tests compare with.
"""

import itertools
import math

import numpy as np

C_ANGSTROM = 2.99792458e18


def softmax(logits):
    shifted = [math.exp(value - max(logits)) for value in logits]
    return [value / sum(shifted) for value in shifted]


def bin_of(edges, z):
    """Section 2: delta_c is 1 if z_c < z <= z_{c+1}; the lowest edge belongs to the first bin."""
    if z == edges[0]:
        return 0
    for c in range(len(edges) - 1):
        if edges[c] < z <= edges[c + 1]:
            return c
    raise ValueError(f"{z} lies outside")


def cdf(edges, probs, z):
    total = 0.0
    for c, mass in enumerate(probs):
        if z >= edges[c + 1]:
            total += mass
        elif z > edges[c]:
            total += mass * (z - edges[c]) / (edges[c + 1] - edges[c])
    return total


def cross_entropy(edges, logits, z):
    """Section 2, first equation, without the penalty."""
    return -math.log(softmax(logits)[bin_of(edges, z)])


def cde_loss(edges, probs, z):
    """Section 3, last equation: the integral of the squared density minus twice its value."""
    density = [p / (edges[c + 1] - edges[c]) for c, p in enumerate(probs)]
    integral = sum(f * f * (edges[c + 1] - edges[c]) for c, f in enumerate(density))
    return integral - 2 * density[bin_of(edges, z)]


def crps(edges, probs, z, points=4):
    """Integral of (F - 1[x >= z])^2 by Gauss-Legendre on every smooth piece: exact."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    cuts = sorted({*edges, z})
    total = 0.0
    for low, high in itertools.pairwise(cuts):
        for node, weight in zip(nodes, weights, strict=True):
            x = (low + high) / 2 + node * (high - low) / 2
            step = 1.0 if x >= z else 0.0
            total += weight * (high - low) / 2 * (cdf(edges, probs, x) - step) ** 2
    return total


def log_score(edges, probs, z):
    """Minus the logarithm of the density at z."""
    c = bin_of(edges, z)
    density = probs[c] / (edges[c + 1] - edges[c])
    return -math.log(density) if density > 0 else math.inf


def brier(edges, probs, z):
    """Brier (1950): squared difference from the forecast that was certain and right."""
    return sum((p - (c == bin_of(edges, z))) ** 2 for c, p in enumerate(probs))


def entropy(edges, probs):
    total = 0.0
    for c, p in enumerate(probs):
        if p > 0:
            total -= p * math.log(p / (edges[c + 1] - edges[c]))
    return total


def uniform_distances(values):
    """KS, Cramer-von Mises, Anderson-Darling as integrals of the empirical CDF minus u, squared.

    Between two neighbouring values the empirical CDF is a = k / N, and
    (a - u)^2 / (u (1 - u)) = -1 + a^2 / u + (1 - a)^2 / (1 - u).
    """
    n = len(values)
    cuts = [0.0, *sorted(values), 1.0]
    ks = cvm = ad = 0.0
    for k in range(n + 1):
        a, low, high = k / n, cuts[k], cuts[k + 1]
        ks = max(ks, abs(a - low), abs(a - high))
        cvm += n * ((high - a) ** 3 - (low - a) ** 3) / 3
        ad += n * (low - high)
        if a > 0:
            ad += n * a**2 * (math.log(high) - math.log(low))
        if a < 1:
            ad += n * (1 - a) ** 2 * (math.log1p(-low) - math.log1p(-high))
    return ks, cvm, ad


def counted_distances(values, edges):
    """KS and Cramer-von Mises of the line through the empirical CDF at the edges, by Simpson."""
    n = len(values)
    apart = [sum(value <= edge for value in values) / n - edge for edge in edges]
    cvm = 0.0
    for k in range(len(edges) - 1):
        middle = (apart[k] + apart[k + 1]) / 2
        square = (apart[k] ** 2 + 4 * middle**2 + apart[k + 1] ** 2) / 6
        cvm += n * (edges[k + 1] - edges[k]) * square
    return max(map(abs, apart)), cvm


def highest_density_level(edges, probs, z):
    """Mass of density above that at z, and of equal density left of z as far as it is long."""
    density = [p / (edges[c + 1] - edges[c]) for c, p in enumerate(probs)]
    here = density[bin_of(edges, z)]
    level = tied = length = left = 0.0
    for c, f in enumerate(density):
        if math.isclose(f, here, rel_tol=1e-9):
            tied += probs[c]
            length += edges[c + 1] - edges[c]
            left += min(max(z - edges[c], 0.0), edges[c + 1] - edges[c])
        elif f > here:
            level += probs[c]
    return level + tied * left / length


def expected_outlier_rate(edges, probs, z_phot, threshold):
    """Mass of all z with |z_phot - z| > threshold (1 + z)."""
    low, high = (z_phot - threshold) / (1 + threshold), (z_phot + threshold) / (1 - threshold)
    return 1 - (cdf(edges, probs, high) - cdf(edges, probs, low))


def invariance(p, q):
    """Section 3: |f(x) - f(Theta(x))|^2."""
    return sum((a - b) ** 2 for a, b in zip(p, q, strict=True))


def trapezoid_weights(wavelength):
    weights = np.zeros(len(wavelength))
    for k in range(len(wavelength) - 1):
        half = (wavelength[k + 1] - wavelength[k]) / 2
        weights[k] += half
        weights[k + 1] += half
    return weights


def filter_integral(x, y):
    """Integral of c R / lambda over the whole filter, each straight piece in closed form."""
    total = 0.0
    for j in range(len(x) - 1):
        slope = (y[j + 1] - y[j]) / (x[j + 1] - x[j])
        constant = y[j] - slope * x[j]
        total += C_ANGSTROM * (constant * math.log(x[j + 1] / x[j]) + slope * (x[j + 1] - x[j]))
    return total


def flux_in_band(wavelength, flux, filter_x, filter_y, nu, denominator="covered"):
    """Appendix A and B.1 for one spectrum, one shift, one filter: (flux, coverage).

    `wavelength` and `flux` are the spectrum's own pixels only.
    """
    weights = trapezoid_weights(wavelength)
    response = np.interp(nu * wavelength, filter_x, filter_y, left=0.0, right=0.0)
    above = nu**2 * np.sum(weights * wavelength * flux * response)
    covered = np.sum(weights * C_ANGSTROM / wavelength * response)
    whole = filter_integral(filter_x, filter_y)
    below = whole if denominator == "full" else covered
    return (above / below if covered > 0 else 0.0), covered / whole


def flux_variance(wavelength, ivar, filter_x, filter_y, nu, denominator="covered"):
    """Variance of `flux_in_band`: what each pixel counts, squared, over its ivar."""
    weights = trapezoid_weights(wavelength)
    response = np.interp(nu * wavelength, filter_x, filter_y, left=0.0, right=0.0)
    covered = np.sum(weights * C_ANGSTROM / wavelength * response)
    if covered == 0:
        return 0.0
    below = filter_integral(filter_x, filter_y) if denominator == "full" else covered
    return np.sum((nu**2 * weights * wavelength * response / below) ** 2 / ivar)


def flux_penalty(probs, shifted, true):
    """Section 3, first constraint, one band: |E[Phi'] - Phi'(1)| / |Phi'(1)|."""
    expected = sum(p * phi for p, phi in zip(probs, shifted, strict=True))
    return abs(expected - true) / abs(true)


def mad(z_phot, z_spec):
    """Section 4.1."""
    residual = sorted(abs((p - s) / (1 + s)) for p, s in zip(z_phot, z_spec, strict=True))
    n = len(residual)
    middle = residual[n // 2] if n % 2 else (residual[n // 2 - 1] + residual[n // 2]) / 2
    return 1.4826 * middle


def repeated(values, counts):
    """Each value as often as its count says."""
    return [value for value, count in zip(values, counts, strict=True) for _ in range(count)]


def middle(values):
    """Median by hand."""
    ordered, n = sorted(values), len(values)
    return ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2


def percentile(values, q):
    """Linear between the two nearest of the sorted values, the first of which is the 0th."""
    ordered = sorted(values)
    rank = (len(ordered) - 1) * q
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (rank - below) * (ordered[above] - ordered[below])


def point_metrics(z_phot, z_spec, *, centred, bias, threshold):
    """MAD, bias and outlier rate of a list of galaxies in a convention, one galaxy at a time."""
    residual = [(p - s) / (1 + s) for p, s in zip(z_phot, z_spec, strict=True)]
    centre = middle(residual) if centred else 0.0
    if threshold == "3 sigma":
        threshold = max(0.06, 3 * (percentile(residual, 0.75) - percentile(residual, 0.25)) / 1.349)
    return {
        "mad": 1.4826 * middle([abs(d - centre) for d in residual]),
        "bias": middle(residual) if bias == "median" else math.fsum(residual) / len(residual),
        "outlier_rate": sum(abs(d) > threshold for d in residual) / len(residual),
    }
