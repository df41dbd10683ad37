"""The study: groups of terms trained from many seeds, and what is measured of each."""
