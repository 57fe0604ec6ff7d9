# SPDX-License-Identifier: Apache-2.0
"""Flower's PyTorch app on scikit-learn's digits, with compressed updates."""
