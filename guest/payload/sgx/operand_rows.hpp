// An operand of ENCLU inside an enclave, as most leaves check it: in ELRANGE, in the EPC, and a regular page of the
// enclave at its place that may be used (SDM vol. 3D, 36.5 and the leaves' Operations). `reg` of `call` names it, and
// it is at home in `page`.
#pragma once

#include "rows.hpp"

namespace sgx {

template <u64 Call::*reg, unsigned page>
struct OperandRows {
  static constexpr unsigned other = second_ssa_page;  // a page like it

  static void outside() { call.*reg = enclave_base + enclave_bytes; }
  static void not_epc() { map_alias(in_enclave(page), place_of(0, page), pte::p | pte::w | pte::u); }
  static void not_valid() { eremove(place_of(0, page)); }
  static void blocked() { block(place_of(0, page)); }
  static void pending() {
    eremove(place_of(0, page));
    eaug(page);
  }
  static void another_enclaves() {
    launch(1);
    map_enclave_page(page, place_of(1, page));
  }
  static void elsewhere() { map_enclave_page(page, place_of(0, other)); }
  static void unreadable() { call.*reg = in_enclave(execute_only_page); }
  static void unwritable() { call.*reg = in_enclave(read_only_page); }
};

/// The rows of enclave_page (silicon/sgx/leaf.hpp), in an array's initialiser.
#define OPERAND_PAGE_ROWS(check, rows, REG, fault, no_rights)                                     \
  row(check ".valid", REG " is not a valid page", fault, rows::not_valid),                        \
      row(check ".blocked", REG " is blocked", fault, rows::blocked),                             \
      row(check ".settled", REG " is pending", fault, rows::pending),                             \
      unit(check ".type", REG " is not a regular page", fault, "SgxRows.OperandsAreRegularPages", \
           "pages of other types have no permissions"),                                           \
      row(check ".owner", REG " is another enclave's page", fault, rows::another_enclaves),       \
      row(check ".address", REG " is a page of another address", fault, rows::elsewhere),         \
      row(check ".rights", REG " may not be used so", fault, no_rights)

}  // namespace sgx
