//! ONNX Runtime in the clear: the plaintext reference of demos and checks.
