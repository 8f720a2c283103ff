// libzstd as it is.
#ifndef TOLLGATE_CZSTD_H
#define TOLLGATE_CZSTD_H
#include <zstd.h>
#endif
