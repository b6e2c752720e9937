//! Masked evaluation: dealer, evaluator and client as sans-IO state machines, and the ring kernels.
