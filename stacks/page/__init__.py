"""The page from a private bucket through CloudFront (setting `cloudfront_page`)."""
