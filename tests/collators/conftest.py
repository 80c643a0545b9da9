"""These tests read loss weights themselves: without a loss that does, collators would warn."""

import spanmask.integrations.weighted_loss  # noqa: F401
