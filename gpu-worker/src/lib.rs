//! Worker node: engines, model cache and job execution.
