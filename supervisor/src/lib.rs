//! How does a child start, live and end?
