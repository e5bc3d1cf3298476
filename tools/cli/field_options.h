// The options that a table of fields (job_fields(), service_fields()) makes on a command.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "state/result.h"
#include "tools/cli/job_draft.h"

namespace berth::tools {

// What the options of a table were given, in its order.
struct GivenFields {
  std::vector<std::vector<std::string>> values;
};

// `takes(field)`: which of them the command has.
template <class Field, class Takes>
void add_field_options(CLI::App* command, const std::vector<Field>& fields, const std::shared_ptr<GivenFields>& given,
                       Takes&& takes) {
  given->values.resize(fields.size());
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const Field& field = fields[i];
    if (field.option == nullptr || !takes(field)) continue;
    CLI::Option* option = nullptr;
    const auto keep = [given, i](const CLI::results_t& results) {
      given->values[i] = results;
      return true;
    };
    switch (field.shape) {
      case FieldShape::kFlag:
        option = command->add_flag(field.option, given->values[i], field.text);
        break;
      case FieldShape::kOptionalText:
        option = command->add_flag(field.option, given->values[i], field.text)->type_name("TIMES");
        break;
      case FieldShape::kText:
        option = command->add_option(field.option, keep, field.text)->type_name(field.value)->expected(1);
        break;
      case FieldShape::kList:
      case FieldShape::kVariables:
      case FieldShape::kCommand:
        option = command->add_option(field.option, keep, field.text)
                     ->type_name(field.value)
                     ->expected(1, 100'000)
                     ->allow_extra_args(false);
        break;
    }
    option->group(field.group);
  }
}

template <class Field, class Draft>
state::Status fill_fields(Draft& draft, const std::vector<Field>& fields, const GivenFields& given) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    for (const std::string& value : given.values[i]) {
      if (state::Status set = fields[i].set(draft, value, fields[i].name); !set) return set;
    }
  }
  return state::Unit{};
}

}  // namespace berth::tools
