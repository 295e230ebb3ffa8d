#pragma once
// A REPORT or a TARGETINFO goes through the call's text.
enum { TARGET, REPORT, VERIFY, REPORT_BYTES = 432, TARGET_BYTES = 512, CHALLENGE_BYTES = 64 };
