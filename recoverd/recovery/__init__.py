"""The heart: survey, candidates, plan, staging, the swap transaction, quarantine, proof."""
