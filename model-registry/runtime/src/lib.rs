//! Runtime of the AI-LINK chain.
