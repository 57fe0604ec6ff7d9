# SPDX-License-Identifier: Apache-2.0
"""Golden streams, their writer and their reader."""
