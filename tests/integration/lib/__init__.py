# SPDX-License-Identifier: Apache-2.0
"""What the integration tests share: processes, certificates, raw sockets, waiting."""
