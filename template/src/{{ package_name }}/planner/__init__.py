"""PLAN.md: read its blocks, fill the measured ones, check the whole, approve and explain."""
