# SPDX-License-Identifier: Apache-2.0
"""Two nodes that train without a framework, and a server that can wait between two rounds."""
