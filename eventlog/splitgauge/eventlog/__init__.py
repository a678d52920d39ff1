"""The event log: its port and its adapters. Import from the modules; no engine is loaded unasked."""
