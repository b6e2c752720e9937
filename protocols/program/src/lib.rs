//! The private program: ONNX importer, typed IR, fixed-point plan, clear references.
