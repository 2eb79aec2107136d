//! Which backend answers this id, for whom, for how long?
