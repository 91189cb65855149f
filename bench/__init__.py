"""Measures receiver and worker beside their ceilings, in one run: the ratios count, not the absolute figures."""
