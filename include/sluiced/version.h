/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version: what `sluiced version` prints and our User-Agent says.
 */
#ifndef SL_VERSION_H
#define SL_VERSION_H

#define SL_VERSION "0.1.0"

#endif
