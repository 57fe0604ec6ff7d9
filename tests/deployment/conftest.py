# SPDX-License-Identifier: Apache-2.0
"""The app is Flower's to import, from its own folder; pytest would look there for doctests."""

collect_ignore = ["app"]
