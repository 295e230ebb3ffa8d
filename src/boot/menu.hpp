// GRUB's menu, as grub-mkconfig(8) writes it: entries, what is nested in submenus, and which one is the default. It is
// read, not run: conditions are passed over, functions too, and a variable has what was last set.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/types.hpp"

namespace cloister::boot {

struct MenuItem {
  std::string title, id;
  std::string kernel, arguments;      ///< of an entry that starts Linux
  std::vector<std::string> ramdisks;  ///< one behind the other
  std::vector<MenuItem> items;        ///< of a submenu
};

struct Menu {
  std::vector<MenuItem> items;
  std::string chosen;  ///< `default`: a number, a title or an id, with '>' between those of submenus; empty: the first

  /// The entry that starts by itself; null: there is none.
  const MenuItem* first_choice() const;
  /// By its number among all entries, those of submenus in their places; null: there are fewer.
  const MenuItem* entry(u32 number) const;
};

/// What grub-editenv(1) keeps, by name.
using MenuVariables = std::map<std::string, std::string, std::less<>>;
MenuVariables read_menu_variables(std::string_view text);

/// What it does not know it passes over. `variables`: what they have before.
Menu read_menu(std::string_view text, MenuVariables variables);

}  // namespace cloister::boot
