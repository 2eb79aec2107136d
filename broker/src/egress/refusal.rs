//! Why a request of a child goes nowhere.

use http::StatusCode;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No living dummy is in it.
    NoDummy,
    /// Living dummies of more than one child are in it.
    TwoDummies,
    /// CONNECT makes a tunnel, TRACE shows the token.
    Method,
    /// It names another host, or none of a kind that is known.
    OtherHost,
    /// Its path may lead elsewhere than it seems to.
    Path,
    /// The dummy stands in the path.
    DummyInPath,
    /// It has more than may cross.
    LongHead,
    /// Its body comes in another transfer coding than `chunked` alone, which would be lost on the way.
    TransferCoding,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoDummy | Self::TwoDummies => StatusCode::UNAUTHORIZED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Path | Self::DummyInPath => StatusCode::BAD_REQUEST,
            // RFC 9112 section 6.1.
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::LongHead => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::NoDummy => "This address needs the token that the process was started with.",
            Self::TwoDummies => "The request has the tokens of two processes.",
            Self::Method => "This method is not forwarded.",
            Self::OtherHost => "Requests to other hosts are not forwarded.",
            Self::Path => "The path has dot segments, or lies outside of the configured origin.",
            Self::DummyInPath => "A token in the path is not forwarded; use a header.",
            Self::TransferCoding => "The only transfer coding that is forwarded is chunked.",
            Self::LongHead => {
                "The head of the request has more than 256 header fields or more than 64 KiB; \
                 send fewer."
            }
        }
    }
}
