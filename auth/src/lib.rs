//! Who is asking, who vouches, and with which upstream credential?
