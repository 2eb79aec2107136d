//! How do HTTP exchanges map to lines on two pipes?
