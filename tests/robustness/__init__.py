# SPDX-License-Identifier: Apache-2.0
"""Hostile and damaged bytes."""
