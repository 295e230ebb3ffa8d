// Silicon descriptions and CPU models: which named model of libvirt and QEMU stands for which description. A model's
// own features must be ones that the silicon has; what it has beyond them, the model does not say.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cloister::toolstack::vm {

struct ModelRow {
  std::string_view silicon;  ///< a description's name
  std::string_view model;    ///< in libvirt's cpu_map and QEMU
  std::string_view lacks;    ///< of the model's features, what the silicon does not have; blanks between them
  std::string_view without;  ///< of the silicon's features, what the model is by definition without
};

/// The first row of a description is the model that it becomes; the others serve to read models.
std::span<const ModelRow> model_rows();
const ModelRow* row_of_silicon(std::string_view silicon);

}  // namespace cloister::toolstack::vm
